"""Runs beside each other: the same prompts, the same actions, the same seeds."""
