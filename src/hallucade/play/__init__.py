"""Play a dream live in the browser, beside the real game."""
