"""Covariances with a common volume, shape or orientation: mclust's families, under its names and ours."""

from baselines.families.names import FAMILIES, Family, family_of, n_free_variances

__all__ = ["FAMILIES", "Family", "family_of", "n_free_variances"]
