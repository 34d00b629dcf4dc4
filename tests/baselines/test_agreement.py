"""Components against labels: counts, the index, and points without a label."""

import pytest
import torch

from baselines.agreement import agreement
from baselines.metrics import adjusted_rand_index
from baselines.mixture import Mixture

MIXTURE = Mixture(torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.0], [10.0]]).double())
X = torch.tensor([[0.0], [1.0], [9.0], [10.0], [11.0], [2.0]]).double()


def test_counts_and_index() -> None:
    found = agreement(MIXTURE, X, "kind", ["b", "b", "b", "a", "", "b"])
    assert (found.label, found.groups, found.compared) == ("kind", ["b", "a"], 5)
    assert found.counts == [[3, 0], [1, 1]]
    expected = adjusted_rand_index(torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 0]))
    assert found.index == float(expected)


@pytest.mark.parametrize("values", [["a"], [""] * 6])
def test_labels_that_do_not_fit(values: list[str]) -> None:
    with pytest.raises(ValueError, match="kind: "):
        agreement(MIXTURE, X, "kind", values)
