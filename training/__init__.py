"""The learned model: task sampler, trainer and evaluation. Nothing is here yet."""
