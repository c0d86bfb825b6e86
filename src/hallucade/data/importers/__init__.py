"""Foreign formats, one a file; each converts times, units and signs at this edge."""
