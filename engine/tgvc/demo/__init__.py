"""``python -m tgvc.demo``: a clip through the whole codec, checked, and shown beside AV1 at the same size."""
