"""What several questions share: the parts of a comparison, tasks, statistics, words."""
