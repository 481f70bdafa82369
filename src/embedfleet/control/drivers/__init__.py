"""Drivers, each of which starts and stops children on one substrate: processes, containers or servers elsewhere."""
