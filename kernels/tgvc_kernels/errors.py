"""What is raised where a GPU was asked for and there is none."""


class GpuUnavailableError(RuntimeError, ImportError):
    """Kernels cannot run on a GPU here: says what is missing and how to get it."""
