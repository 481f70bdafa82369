"""A fleet at work: supervision, updates, its admin API."""
