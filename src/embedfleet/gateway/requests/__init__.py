"""Client requests on their way through the gateway."""
