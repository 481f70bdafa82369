"""Drivers: each starts and stops children on one substrate."""
