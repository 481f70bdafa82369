"""Experiments that compare our dispatcher with rivals in virtual time; the simulator is `embedfleet.simulation`."""
