"""Splitting: the texts of a request in several requests, and the replies to these joined to one."""
