"""Ball arithmetic: torch formulas and exact algorithms evaluated with every rounding enclosed."""
