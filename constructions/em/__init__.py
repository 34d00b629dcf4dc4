"""Theorem 1: EM steps as softmax attention, their weights and their bounds."""
