"""The check and the speed of the engine on one GPU."""
