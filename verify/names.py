"""Names that options take, for ``--help``, which imports no registry; the tests compare them with it."""

CHECK_NAMES = (
    *("em-exact", "em-search", "em-search-float32", "em-search-edges", "em-structured", "em-slope"),
    *("em-ten-steps", "em-read-out", "em-covariances-search", "em-covariances-search-float32"),
    *("em-covariances-accuracy", "em-covariances-slope", "em-covariances-real-data", "tensor-symbolic"),
    *("tensor-rational", "tensor-rounding", "tensor-paths", "tensor-recovery", "tensor-structured"),
    *("softmax-search", "softmax-search-float32", "softmax-best", "softmax-sink", "softmax-paths"),
    *("spectral-search", "spectral-squares-search", "spectral-variance-search", "spectral-sizes"),
    *("spectral-size", "spectral-failures", "least-squares-search", "least-squares-paths", "ridge-search"),
    *("ridge-paths", "pca-search", "pca-paths", "kmeans-search", "kmeans-paths", "mirror-descent-search"),
    *("mirror-descent-paths", "kmeans-hard-limit", "em-certified", "em-tied-spherical-certified"),
    *("em-spherical-certified", "em-diagonal-certified", "em-tied-certified", "em-full-certified"),
    *("tensor-power-certified", "softmax-tensor-power-certified", "spectral-certified"),
    *("spectral-squares-certified", "spectral-variance-certified", "least-squares-certified"),
    *("ridge-certified", "pca-certified", "kmeans-certified", "mirror-descent-certified"),
    *("reference-levels", "learned-copies"),
    *("learned-staying", "learned-returning", "learned-probes", "learned-patches", "learned-worth"),
    *("learned-traced", "learned-interchange", "learned-rule"),
)
"""Of verify.registry.CHECKS."""

THEOREM_NAMES = (
    *("em", "em-tied-spherical", "em-spherical", "em-diagonal", "em-tied", "em-full", "tensor-power"),
    *("softmax-tensor-power", "spectral", "spectral-squares", "spectral-variance", "least-squares", "ridge"),
    *("pca", "kmeans", "mirror-descent"),
)
"""Of verify.registry.THEOREMS."""
