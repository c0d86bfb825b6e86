"""Ablations: a recipe trained with one choice changed at a time, over several seeds, and what that shows."""
