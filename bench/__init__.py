"""Benchmarks: us and the rival in one run, ratios last."""
