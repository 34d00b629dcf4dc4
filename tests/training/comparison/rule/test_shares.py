"""Shares of a gain on a loss whose answer is known."""

import pytest
import torch

from training.comparison.rule.groups import Forms, Group
from training.comparison.rule.shares import fair_shares, group_shares

ZERO, ONE = (
    (Forms(*(torch.full((1,), value, dtype=torch.float64) for _ in Forms._fields)),) for value in (0.0, 1.0)
)


def group(name):
    masks = {field: torch.tensor([field == name]) for field in Forms._fields}
    return Group(name, (Forms(**masks),))


GROUPS = [group(name) for name in Forms._fields]


def loss(forms):
    """10 - 3 scores - 1 values - 4 w1 b1: the last two do something together only. b2 does harm."""
    f = forms[0]
    return float(10 - 3 * f.scores - f.values - 4 * f.w1 * f.b1 + f.b2)


def test_shapley_values_split_what_is_done_together():
    found = {one.name: one.share for one in fair_shares(ZERO, ONE, GROUPS, loss)}
    expected = {"scores": 3 / 7, "values": 1 / 7, "w1": 2 / 7, "b1": 2 / 7, "w2": 0, "b2": -1 / 7}
    assert found == pytest.approx(expected, abs=1e-12)
    assert sum(found.values()) == pytest.approx(1)


def test_alone_and_without():
    found = {one.name: one for one in group_shares(ZERO, ONE, GROUPS, loss)}
    assert found["scores"].alone == pytest.approx(3 / 7)
    assert found["scores"].without == pytest.approx(3 / 7)
    assert found["w1"].alone == 0
    assert found["w1"].without == pytest.approx(4 / 7)
    assert found["w2"].change == pytest.approx(6**-0.5)
