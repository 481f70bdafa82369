"""What TEI's JSON library (serde_json behind axum) says of a body that it refuses, and which bodies it takes.

A second reading of a body, byte by byte in the library's order, so that the first fault is the library's first fault,
with its words, its path and its position. It is slow, and made only of bodies that the first reading did not take: that
is by orjson, see `embedfleet.dialects.body`.
"""
