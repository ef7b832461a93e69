"""Engines that were built for one GPU: kept, signed, and never loaded from anybody else."""
