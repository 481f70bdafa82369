"""The running fleet: supervision, updates, drains and its admin API."""
