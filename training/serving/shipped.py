"""Where the networks are that this package ships."""

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"

STUDIED = ("d2", "d8")
"""The networks of unit covariances that the comparison and the claims of the ledger are about."""

SHIPPED = {name: WEIGHTS / f"tgmm_{name}.safetensors" for name in (*STUDIED, "d2-full", "d8-long")}
"""The models of this package by their names."""

MOST_STUDIED = 5
"""Components that the networks of STUDIED serve."""


def automatic(n_features: int, n_components: int, covariance_type: str) -> str:
    """The name of the network for data of d coordinates and mixtures of K components of a covariance type.

    That of d = 2 for d <= 2: with covariances of its own, unless unit ones and at most MOST_STUDIED
    components are asked for. "d8-long" otherwise, the network of d = 8 that was trained longest.
    """
    if n_features > 2:
        return "d8-long"
    return "d2" if covariance_type == "unit" and n_components <= MOST_STUDIED else "d2-full"
