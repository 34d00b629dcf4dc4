"""Clusterings by neural networks of a few small layers: what mixtures are compared with, no part of them."""
