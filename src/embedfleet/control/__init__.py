"""The control plane, which starts, watches, restarts and stops replicas and balancers."""
