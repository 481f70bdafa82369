"""Meaning of each key of a model folder's files, and how our engine and TEI treat it."""
