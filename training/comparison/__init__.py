"""Learned against constructed: what `python -m training.compare` measures, one module a question."""
