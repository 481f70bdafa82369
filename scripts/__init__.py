"""What is run on the project itself."""
