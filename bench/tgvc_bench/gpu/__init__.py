"""What the owner of a large GPU runs, in slices of minutes, and what comes of it. See docs/bench.md."""
