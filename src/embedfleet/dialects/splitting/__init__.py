"""Splitting of a request's texts over several requests, and joining of their replies into one."""
