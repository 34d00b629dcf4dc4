"""Where the networks are that this package ships."""

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"

STUDIED = ("d2", "d8")
"""The networks of unit covariances that the comparison and the claims of the ledger are about."""

_OTHERS = ("d2-full", "d2-long", "d2-set-transformer", "d8-long", "d8-diagonal", "d8-constructed")

SHIPPED = {name: WEIGHTS / f"tgmm_{name}.safetensors" for name in (*STUDIED, *_OTHERS)}
"""The models of this package by their names."""

MOST_STUDIED = 5
"""Components that the networks of STUDIED serve."""


def automatic(n_features: int, n_components: int, covariance_type: str) -> str:
    """The name of the network for data of d coordinates and mixtures of K components of a covariance type.

    For d <= 2 "d2-long" where unit ones and at most MOST_STUDIED components are asked for, else "d2-full",
    which says covariances. For larger d "d8-constructed", which training started from constructed EM steps:
    the best start of all, of every kind of covariances, also in columns of noise beside the data and on the
    leading components of data of larger d (paper_notes/learned_model.md). It serves K to MOST_STUDIED;
    "d8-diagonal" serves more, of diagonal covariances in d = 8.
    """
    if n_features <= 2:
        return "d2-long" if covariance_type == "unit" and n_components <= MOST_STUDIED else "d2-full"
    many = n_components > MOST_STUDIED and (n_features, covariance_type) == (8, "diagonal")
    return "d8-diagonal" if many else "d8-constructed"
