"""The recipe of the shipped networks: data, losses, training, samples."""
