"""Decoded layers to frames: one module per generator."""
