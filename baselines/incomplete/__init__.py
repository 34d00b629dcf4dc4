"""EM where not every number is there, or not every point is of a component: missing values and noise."""
