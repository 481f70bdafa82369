"""The command line: where the planes are joined."""
