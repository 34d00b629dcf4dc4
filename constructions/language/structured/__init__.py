"""The same weights evaluated from their formulas, at what the algorithm costs; see evaluation.py."""
