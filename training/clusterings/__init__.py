"""Mixtures beside other ways of grouping points: on mixtures, on shapes that are none, on real data."""
