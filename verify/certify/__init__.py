"""Bounds and errors of one instance as theorems about it: everything evaluated in balls."""
