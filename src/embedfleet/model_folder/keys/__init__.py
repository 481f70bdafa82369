"""The keys of a model folder's files: their meaning, and their treatment by our engine and by TEI."""
