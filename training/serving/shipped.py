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
    components are asked for. For more, "d8-long" on what it was trained for, unit covariances in d = 8 (of
    larger d the leading components are shown to it), else "d8": in columns of noise beside real data, which
    neither has seen, it is the better start (paper_notes/next_checks.md).
    """
    if n_features > 2:
        return "d8-long" if covariance_type == "unit" and n_features >= 8 else "d8"
    return "d2" if covariance_type == "unit" and n_components <= MOST_STUDIED else "d2-full"
