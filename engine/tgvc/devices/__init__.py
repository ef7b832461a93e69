"""Where sampling and painting compute: the host's memory, or that of a GPU, behind one protocol."""
