"""Metrics that need trained weights: LPIPS, DISTS, tLPIPS, FID, KID, CLIP similarity.

The weights are not part of this package. Whoever has the files names them, with their SHA-256; without them these
metrics are refused, never replaced by something else.
"""
