"""Training: settings, losses, steps, checkpoints, and the files that a run leaves."""
