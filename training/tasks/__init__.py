"""Tasks for meta-training and evaluation: laws of mixtures, batches of data sets, training steps."""

from training.tasks.batch import TaskBatch, sample_tasks
from training.tasks.distribution import MOST_SAMPLES, TaskDistribution, check_samples
from training.tasks.steps import MicroBatch, draw, plan_step

__all__ = [
    "MOST_SAMPLES",
    "MicroBatch",
    "TaskBatch",
    "TaskDistribution",
    "check_samples",
    "draw",
    "plan_step",
    "sample_tasks",
]
