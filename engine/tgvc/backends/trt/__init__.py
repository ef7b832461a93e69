"""TensorRT and TensorRT-RTX: engines for one GPU and one set of shapes, built once, kept, and launched on a stream."""
