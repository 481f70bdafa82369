"""Computation between a backend and an answer: pooling, heads, bge-m3's outputs."""
