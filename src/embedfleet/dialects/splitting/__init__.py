"""Requests divided into parts, and the replies to the parts joined."""
