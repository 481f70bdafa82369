"""Reading of JSON bodies as TEI's library reads them (serde_json in axum), with its error messages.

This second reading goes through a body byte by byte in the library's order. So it finds the same first fault as the
library, with the same message, path and position. It is slow, and runs only for bodies that the first reading with
orjson (`embedfleet.dialects.json_body`) refused.
"""
