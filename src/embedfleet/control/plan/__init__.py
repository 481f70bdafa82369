"""What a fleet consists of, decided from the settings and the machine. Pure."""
