"""Text Embeddings Inference (TEI): the start of its containers, and its reading of model folders."""
