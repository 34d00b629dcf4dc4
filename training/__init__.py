"""The learned model: tasks, TGMM, losses, trainer, evaluation, estimator."""

from console.starting import answer_early_stops

answer_early_stops()
