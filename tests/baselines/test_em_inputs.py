"""Bad input: one line that names the value and what is accepted."""

import pytest
import torch
from em_instances import instance

from baselines.em import em
from baselines.em_steps import em_step, m_step
from baselines.mixture import Mixture

X, START = instance(0, 2, 3, 20)
SEEDED = {"n_components": 3, "generator": torch.Generator().manual_seed(0)}
NAN = X.clone()
NAN[4, 1] = torch.nan
INFINITE = X.clone()
INFINITE[0, 0] = -torch.inf
TWO_STARTS = Mixture(START.weights.expand(2, 3), START.means.expand(2, 3, 2))


def refused(call, match):
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "settings", "match"),
    [
        (NAN, SEEDED, r"X\[4, 1\] is nan, needs finite"),
        (INFINITE, SEEDED, r"X\[0, 0\] is -inf, needs finite"),
        (X.long(), SEEDED, "torch.int64, needs a floating-point"),
        (X[0], SEEDED, r"shape \(2,\), needs \(\.\.\., N, d\)"),
        (X[:0], SEEDED, r"shape \(0, 2\), needs"),
        (X[:2], SEEDED, "2 points, needs at least n_components = 3"),
        (1e200 * X, SEEDED, "squared distance .* needs < .*torch.float64"),
        (X, SEEDED | {"n_components": 0}, "n_components is 0, needs an integer of at least 1"),
        (X, SEEDED | {"n_components": 2.0}, "n_components is 2.0, needs an integer"),
        (X, SEEDED | {"n_components": None}, "n_components is None"),
        (X, SEEDED | {"generator": None}, "generator is None, needs a torch.Generator"),
        (X, SEEDED | {"init": "kmeans"}, "init is 'kmeans', needs a Mixture or one of k-means"),
        (X, SEEDED | {"covariance_type": "diagnol"}, "covariance_type is 'diagnol', needs one of unit, "),
        (X, SEEDED | {"n_init": 0}, "n_init is 0, needs"),
        (X, SEEDED | {"max_iter": -1}, "max_iter is -1, needs"),
        (X, SEEDED | {"tol": -1.0}, "tol is -1.0, needs >= 0"),
        (X, SEEDED | {"tol": float("nan")}, "tol is nan, needs >= 0"),
        (X, SEEDED | {"chunk_size": 0}, "chunk_size is 0, needs"),
        (X, {"init": START, "n_init": 2}, "n_init is 2, needs 1"),
        (X, {"init": START, "covariance_type": "full"}, "covariance_type is 'full', needs 'unit'"),
        (X, {"init": START, "n_components": 4}, "n_components is 4, needs 3"),
        (X, {"init": TWO_STARTS}, r"init has batch shape \(2,\), needs"),
        (X.expand(3, 20, 2), {"init": TWO_STARTS}, r"batch shape \(3,\), needs"),
        (X.float(), {"init": START}, "X is torch.float32 .* needs torch.float64"),
        (X[:, :1], {"init": START}, "X has 1 features, needs 2"),
        (X, SEEDED | {"sample_weight": torch.ones(19).double()}, r"shape \(19,\), needs .* N = 20"),
        (X, SEEDED | {"sample_weight": -torch.ones(20).double()}, r"sample_weight\[0\] is -1.0, needs >= 0"),
        (X, SEEDED | {"sample_weight": torch.zeros(20).double()}, "0 for every point"),
        (X, SEEDED | {"sample_weight": torch.ones(20)}, "sample_weight is torch.float32"),
        (X, SEEDED | {"sample_weight": (torch.arange(20) < 2).double()}, "2 points of positive weight"),
    ],
)
def test_em_refuses(data, settings, match):
    refused(lambda: em(data, **settings), match)


def mixture(**changes):
    fields = {"weights": [0.25, 0.75], "means": [[0.0, 0.0], [1.0, 1.0]]} | changes
    covariances = fields.get("covariances")
    return Mixture(
        torch.tensor(fields["weights"], dtype=torch.float64),
        torch.tensor(fields["means"], dtype=torch.float64),
        None if covariances is None else torch.tensor(covariances, dtype=torch.float64),
        fields.get("covariance_type", "unit"),
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"weights": [0.25, 0.7]}, r"weights sum to 0\.95.*, needs 1"),
        ({"weights": [1.0, 0.0]}, r"weights\[1\] is 0.0, needs > 0"),
        ({"weights": [1.5, -0.5]}, r"weights\[1\] is -0.5, needs > 0"),
        ({"weights": [float("nan"), 1.0]}, r"weights\[0\] is nan"),
        ({"weights": [0.2, 0.3, 0.5]}, r"weights have shape \(3,\), needs \(2,\)"),
        ({"means": [[0.0, float("inf")], [1.0, 1.0]]}, r"means\[0, 1\] is inf"),
        ({"means": [0.0, 1.0]}, r"means have shape \(2,\), needs \(\.\.\., K, d\)"),
        ({"covariance_type": "round"}, "covariance_type is 'round', needs one of"),
        ({"covariances": [1.0, 1.0]}, 'needs None for covariance_type "unit"'),
        ({"covariance_type": "full"}, r"shape None, needs \(2, 2, 2\)"),
        ({"covariance_type": "tied", "covariances": [1.0, 1.0]}, r"shape \(2,\), needs \(2, 2\)"),
        ({"covariance_type": "spherical", "covariances": [1.0, 0.0]}, r"covariances\[1\] is 0.0, needs >= "),
        ({"covariance_type": "spherical", "covariances": [1.0, -2.0]}, r"covariances\[1\] is -2.0"),
        ({"covariance_type": "tied", "covariances": [[1.0, 2.0], [2.0, 1.0]]}, "not positive definite"),
        ({"covariance_type": "tied", "covariances": [[1.0, 0.5], [0.0, 1.0]]}, "differs from its transpose"),
    ],
)
def test_mixture_refuses(changes, match):
    refused(lambda: mixture(**changes), match)


def test_steps_refuse():
    shares = START.responsibilities(X)
    refused(lambda: em_step(NAN, START), r"X\[4, 1\] is nan")
    refused(lambda: m_step(X, shares.mT), r"responsibilities have shape \(20, 3\), needs")
    refused(lambda: m_step(X, shares * 1.1), "responsibilities .* needs >= 0 and a sum of 1")
    refused(lambda: m_step(X, 2 * shares - 1 / 3), "responsibilities range from -")
    refused(lambda: m_step(X, shares, "diag"), "covariance_type is 'diag'")
    refused(lambda: START.permute(torch.tensor([0, 0, 1])), "needs shape .* 0..2 once")
    refused(lambda: START.sample(0, torch.Generator()), "n_samples is 0")
