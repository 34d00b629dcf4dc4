"""Compiled transformers in ball arithmetic: a second implementation that knows no theorem."""
