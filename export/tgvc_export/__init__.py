"""From torch modules to bundles: ONNX files, their check in a fresh process, a build for TensorRT-RTX without a GPU."""
