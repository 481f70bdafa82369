"""Measurements of the source, and the rules and limits that keep it readable."""
