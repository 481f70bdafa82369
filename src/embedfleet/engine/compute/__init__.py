"""Computation around a backend: output heads, pooling, scores of bge-m3, and the memory of a forward pass."""
