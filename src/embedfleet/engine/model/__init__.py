"""A model folder in Hugging Face layout: its origin, and what its files say about the model."""
