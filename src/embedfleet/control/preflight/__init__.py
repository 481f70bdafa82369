"""What is checked before anything is started."""
