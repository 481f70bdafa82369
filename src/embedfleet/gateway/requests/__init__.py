"""Clients' requests, from the exchange to the answer."""
