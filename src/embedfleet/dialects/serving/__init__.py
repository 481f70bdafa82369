"""Requests read and replies written, one vocabulary a file."""
