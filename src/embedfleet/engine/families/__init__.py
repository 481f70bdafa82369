"""One file per model family: what config.json says of its shape, and its forward pass."""
