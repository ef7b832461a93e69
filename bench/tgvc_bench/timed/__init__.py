"""What is timed: kernels, networks, decoding and encoding; `tgvc_bench.protocol` says how."""
