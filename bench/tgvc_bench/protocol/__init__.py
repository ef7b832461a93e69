"""How speed is measured: what may be timed at all, for how long, against what, and how it is written down."""
