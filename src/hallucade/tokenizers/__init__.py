"""Tokenizers: frames to latents and back."""
