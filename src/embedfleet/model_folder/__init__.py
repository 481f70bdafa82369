"""The files of a model folder and their keys, for the engine and the control plane."""
