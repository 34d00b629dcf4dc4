"""Reference algorithms for Gaussian mixtures, and the mixture itself."""
