"""Samplers: draw the next latent block from a model and a state, which they never change."""
