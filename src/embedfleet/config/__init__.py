"""The settings: definitions of all options, and their loading from flags, environment and file."""
