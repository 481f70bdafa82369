"""The error messages of TEI's JSON library (serde_json in axum), and which bodies it accepts.

A second reading of a body, byte by byte in the library's order, so that the first fault is the library's first fault,
with its words, its path and its position. It is slow, and made only of bodies that the first reading did not take: that
is by orjson, see `embedfleet.dialects.body`.
"""
