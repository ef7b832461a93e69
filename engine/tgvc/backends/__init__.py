"""What runs networks: one module per runtime behind one pair of protocols."""
