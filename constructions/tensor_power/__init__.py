"""Theorem 2: cubic tensor power iteration as attention, in ReLU and in softmax form, with their bounds."""
