"""The settings: definitions of all options, and loading from flags, environment and file."""
