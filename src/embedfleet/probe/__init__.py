"""Health checks by inference: probes of replicas, and the check that all replicas of a pool run the same model."""
