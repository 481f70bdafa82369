"""The files of a model folder and their keys, read by the engine and by control."""
