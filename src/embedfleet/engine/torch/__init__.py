"""The backend that computes with PyTorch, on the CPU or on a GPU."""
