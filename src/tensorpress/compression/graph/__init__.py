"""What a compression of a file of ONNX is asked for, and its account."""
