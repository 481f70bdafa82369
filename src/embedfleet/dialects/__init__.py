"""The HTTP vocabularies: the table of routes, and their bodies read, written, split and joined. Pure."""
