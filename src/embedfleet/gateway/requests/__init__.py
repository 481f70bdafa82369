"""Requests from a client's exchange to its answer."""
