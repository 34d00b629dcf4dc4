"""The table of networks of which the answer is known."""

import torch

from training.comparison.finding.references import reference_table, reference_uses, untrained, without_means
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_features=1, n_components=2, n_samples=10, steps=1)


def test_the_table_has_a_line_for_each_variable_of_each_network():
    uses = reference_uses(PROBLEM, 2, quick=True)
    assert list(uses) == ["hand-built", "hand-built, M head's score 0", "untrained 0", "untrained 1"]
    lines = reference_table(uses).splitlines()
    assert len(lines) == 2 + sum(map(len, uses.values()))
    assert lines[2].split()[:2] == ["hand-built", "responsibilities"]
    assert uses["hand-built"][0].accuracy == 1
    assert all(uses[f"untrained {seed}"][0].accuracy <= 0.05 for seed in (0, 1))
    # Responsibilities still reach the weights, which are half of what is said of one dimension.
    assert uses["hand-built, M head's score 0"][0].accuracy <= 0.3


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
