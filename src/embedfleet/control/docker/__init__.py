"""Docker: its daemon, containers and images."""
