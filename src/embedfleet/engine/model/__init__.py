"""A model folder in Hugging Face layout: where it comes from and what it says of its model."""
