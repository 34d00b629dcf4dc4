"""What several questions share: the parts of a comparison, tasks, recordings, statistics, words."""
