"""Certificates: statements about an instance, or a region of them, that no rounding can make false."""
