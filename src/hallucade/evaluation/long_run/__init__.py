"""Thousands of frames: how long a dream stays like the truth, and like real play at all."""
