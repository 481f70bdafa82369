"""The client of the Docker daemon, with its containers and images, and the marks of a fleet's own containers."""
