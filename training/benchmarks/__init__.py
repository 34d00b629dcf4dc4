"""Where others are measured: the learned solver, EM, scikit-learn and the truth on published laws."""
