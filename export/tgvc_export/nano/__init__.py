"""Torch twins of the nano networks: what `train` fits and `tgvc_export` writes as ONNX."""
