"""The trainer and what it stands on: optimizers, schedules, averages, checkpoints, logs."""
