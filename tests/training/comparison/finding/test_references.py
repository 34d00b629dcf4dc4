"""Networks of which the answer is known."""

import torch

from training.comparison.finding.references import untrained, without_means
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_features=1, n_components=2, n_samples=10, steps=1)


def test_the_score_alone_is_taken_away():
    changed, whole = (network.state_dict() for network in (without_means(PROBLEM), PROBLEM.constructed()))
    different = [name for name in whole if not torch.equal(changed[name], whole[name])]
    assert different == ["layers.1.attention.query"]


def test_untrained_networks_are_a_function_of_the_seed():
    weights = untrained(PROBLEM, 3).state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in untrained(PROBLEM, 3).state_dict().items()
    )
    name = "layers.0.mlp.w1"
    assert not torch.equal(weights[name], untrained(PROBLEM, 4).state_dict()[name])
