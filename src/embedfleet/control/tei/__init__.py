"""Text Embeddings Inference: how its containers are started, and what it makes of a model folder."""
