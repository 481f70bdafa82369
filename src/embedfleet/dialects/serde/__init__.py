"""Reading of JSON bodies as TEI's library reads them (serde_json in axum), with its error messages.

This is a second reading of a body, byte by byte in the library's order. So the first fault found is the library's first
fault, with its words, its path and its position. It is slow, and runs only for bodies that the first reading by orjson
(`embedfleet.dialects.json_body`) refused.
"""
