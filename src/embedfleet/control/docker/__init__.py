"""The Docker daemon, its containers and its images."""
