"""Stable Video Diffusion and the adapter of MOFA-Video as torch modules named as in their published files."""
