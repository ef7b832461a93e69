"""The two towers of OpenCLIP as torch modules whose parameters are named as in its published files."""
