"""Training algorithms over roles: which losses, for which networks, in which order."""
