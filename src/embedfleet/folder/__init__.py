"""What lies in a model folder: files and their keys, for the engine and for control."""
