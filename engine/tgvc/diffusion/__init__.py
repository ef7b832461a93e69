"""Diffusion in latents: schedules, samplers, noise alike on every machine, windows, guidance by trajectories."""
