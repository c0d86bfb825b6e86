"""Diffusion arithmetic without networks: schedules, targets, noise levels, loss weights."""
