"""Planning over dreams: a planner tries actions in a dream, and what it chooses is carried out in the true game."""
