"""Theorem 1 checked: what this theorem alone needs."""
