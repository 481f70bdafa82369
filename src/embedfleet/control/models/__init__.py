"""Model folders as control sees them."""
