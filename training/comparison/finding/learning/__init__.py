"""Training many networks of the construction's shape at once: cells, tasks with EM's trace, losses, runs."""
