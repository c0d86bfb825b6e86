"""Judging a dream against the truth: picture metrics, game checks from the simulator's state, and the report."""
