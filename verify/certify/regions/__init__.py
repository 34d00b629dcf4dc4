"""Boxes of data and starts on which the construction is certified to be near EM."""
