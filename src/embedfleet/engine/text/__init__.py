"""Tokenization: from texts, pairs and token ids to the token ids that a model reads."""
