"""Networks in torch, on the CPU or an NVIDIA GPU: ONNX graphs become torch modules, operator by operator."""
