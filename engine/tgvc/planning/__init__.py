"""Choices by measured rate and distortion: what to send, at which precision. Encoder only."""
