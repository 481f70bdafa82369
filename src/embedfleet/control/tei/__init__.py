"""Text Embeddings Inference: how its containers are started, and how it reads a model folder."""
