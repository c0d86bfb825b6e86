"""Recorded play: episodes, the store that holds them, and the clips that training reads."""
