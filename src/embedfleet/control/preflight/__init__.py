"""The survey of the machine, and the checks before a fleet is started."""
