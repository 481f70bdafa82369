"""The engine's HTTP API: the handler and the computation of each route."""
