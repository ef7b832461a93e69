"""tgvc: a trajectory-guided generative video codec."""
