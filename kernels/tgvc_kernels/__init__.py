"""Hot loops of the codec: a NumPy reference and a Numba twin of the same name."""
