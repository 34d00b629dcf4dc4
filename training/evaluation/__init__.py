"""Networks and methods on the same grids of tasks."""
