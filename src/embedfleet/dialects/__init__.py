"""HTTP dialects: the table of routes, and the reading, writing, splitting and joining of their bodies. Pure."""
