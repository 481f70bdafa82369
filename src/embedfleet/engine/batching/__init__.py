"""Batching: the queue of inputs, the choice of batches, and the threads that run them."""
