"""What starts and stops replicas, one file a substrate."""
