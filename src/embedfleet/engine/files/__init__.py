"""Tensors on disk: safetensors files, files that torch.save wrote, and their checksums."""
