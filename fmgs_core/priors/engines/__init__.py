"""What runs a network: torch, onnxruntime or TensorRT behind one `Engine`, and the files and checks between them."""
