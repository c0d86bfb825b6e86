"""What predicted codes can be graded by: one loss a file, with its formula and its source, each a mean per token."""
