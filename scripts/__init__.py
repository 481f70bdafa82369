"""Tools that run on the project itself: checks, generated documents, builds."""
