"""Loss families, one a file, on recorded clips."""
