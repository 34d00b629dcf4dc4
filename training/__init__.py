"""The learned model: tasks, TGMM, losses, trainer, evaluation, estimator."""
