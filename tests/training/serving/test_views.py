"""Of two views the likelier one is kept, by the points that are none of the padding."""

import torch

from baselines.mixture import Mixture
from training.serving.views import likelier


def one_component(*means: float) -> Mixture:
    """Tasks of one component in one dimension, one a mean."""
    places = torch.tensor(means, dtype=torch.float64)
    return Mixture(torch.ones(len(means), 1, dtype=torch.float64), places[:, None, None])


def test_padding_has_no_say() -> None:
    """Task 0 has the point 0 alone, task 1 all of 0, 9, 9: means 1 and 8 are nearer there."""
    X = torch.tensor([0.0, 9.0, 9.0], dtype=torch.float64)[:, None].expand(2, 3, 1)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    for candidate, best in ((1.0, 8.0), (8.0, 1.0)):
        kept = likelier(one_component(candidate, candidate), one_component(best, best), X, mask)
        assert kept.means.flatten().tolist() == [1.0, 8.0]
