"""The networks of DynamiCrafter as torch modules whose parameters are named as in its published files."""
