"""The plan of a fleet, decided from the settings and the machine; pure."""
