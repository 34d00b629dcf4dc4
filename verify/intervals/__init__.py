"""Interval arithmetic in float64: torch formulas with both ends rounded outward, for bounds as printed."""
