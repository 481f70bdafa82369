"""The backend that computes with ONNX Runtime on the CPU."""
