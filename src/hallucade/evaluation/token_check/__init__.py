"""Worlds of codes, looked at as such: what they predict, how they take actions, and what becomes of their codes."""
