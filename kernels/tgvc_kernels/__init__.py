"""Hot loops of the codec: a NumPy reference, a Numba twin and a CUDA twin of the same name. See docs/kernels.md."""
