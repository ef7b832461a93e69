"""Bundles of networks, and typed calls of what is in them."""
