"""The data plane: one address per service, and the dispatcher behind it."""
