"""Files of a model folder that hold tensors."""
