"""Settings: every option once."""
