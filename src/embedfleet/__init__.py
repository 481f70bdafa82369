"""embedfleet: text embeddings and reranking from every device of a machine."""

__version__ = "0.1.0"
