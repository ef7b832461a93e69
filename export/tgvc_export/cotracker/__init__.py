"""Torch twins of CoTracker3 and CoTracker2, written from a description of the networks; see docs/cotracker.md.

The published code and weights are CC-BY-NC-4.0. Nothing of that code is here, only names and shapes of parameters.
"""
