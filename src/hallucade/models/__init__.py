"""World models: what comes next, given what was and what is pressed."""
