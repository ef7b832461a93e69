"""Pictures to what is worth sending: pure functions on arrays."""
