"""The control plane: replicas started, watched, restarted and stopped."""
