"""The life of a child: its phases, liveness, reconciliation, and the consequences of a failed start; pure."""
