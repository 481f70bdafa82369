"""Which replica gets what, when, and what follows a failure: a state machine without I/O."""
