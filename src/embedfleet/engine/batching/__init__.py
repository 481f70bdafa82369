"""Forward passes: what waits for one, what runs in one, and the threads that run them."""
