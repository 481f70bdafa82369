"""What clients talk to, as control sees it: told where the replicas are, asked how they do."""
