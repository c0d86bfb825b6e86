"""Episode stores as other programs' formats, so that work done here can leave."""
