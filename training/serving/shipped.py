"""Where the networks are that this package ships."""

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"

STUDIED = ("d2", "d8")
"""The networks of unit covariances that the comparison and the claims of the ledger are about."""

_OTHERS = ("d2-full", "d2-long", "d2-set-transformer", "d8-long", "d8-diagonal")

SHIPPED = {name: WEIGHTS / f"tgmm_{name}.safetensors" for name in (*STUDIED, *_OTHERS)}
"""The models of this package by their names."""

MOST_STUDIED = 5
"""Components that the networks of STUDIED serve."""


def automatic(n_features: int, n_components: int, covariance_type: str) -> str:
    """The name of the network for data of d coordinates and mixtures of K components of a covariance type.

    For d <= 2 "d2-long" where unit ones and at most MOST_STUDIED components are asked for, else "d2-full",
    which says covariances. For more, what was trained for d = 8 where the data are that: "d8-long" for unit
    covariances in d >= 8 (of larger d the leading components are shown to it), "d8-diagonal" for diagonal
    ones in d = 8 itself. Else "d8": in columns of noise beside real data, which none has seen, it is the
    better start (paper_notes/next_checks.md).
    """
    if n_features <= 2:
        return "d2-long" if covariance_type == "unit" and n_components <= MOST_STUDIED else "d2-full"
    if covariance_type == "unit" and n_features >= 8:
        return "d8-long"
    return "d8-diagonal" if covariance_type == "diagonal" and n_features == 8 else "d8"
