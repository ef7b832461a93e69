"""Measurement: quality against conventional codecs, and speed."""
