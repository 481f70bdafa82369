"""Balancers of services, as control sees them: a gateway or nginx gets its replicas and reports their states."""
