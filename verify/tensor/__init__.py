"""Theorem 2 checked, in ReLU and in softmax form."""
