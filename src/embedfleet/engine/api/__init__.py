"""The engine's HTTP API: TEI's routes and what each computes."""
