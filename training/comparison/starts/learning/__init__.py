"""What decides a run: tasks, starts, training, and how errors are taken."""
