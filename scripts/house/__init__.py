"""The figures that keep the source readable, and the rules that fail past them."""
