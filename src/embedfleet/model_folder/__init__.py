"""Files of a model folder and their keys, for the engine and for control."""
