"""Model families, one file each: the shape that config.json states, and the forward pass."""
