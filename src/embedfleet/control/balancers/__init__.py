"""Balancers: control tells a service's gateway or nginx its replicas, and reads the replicas' states."""
