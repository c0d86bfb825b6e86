"""Game checks: what a dream did to the game's state, measured against the simulator that knows it."""
