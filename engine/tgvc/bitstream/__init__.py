"""Values to bytes and back; integers only on the decoding side."""
