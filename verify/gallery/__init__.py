"""Theorems of the gallery as objects of the engine."""
