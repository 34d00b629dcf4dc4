"""Equal balls are one object; padding is left out."""

import pytest
import torch

from verify.balls.flint import arb, precision
from verify.certify.network.rows import Pool, name


def test_equal_balls_are_kept_once() -> None:
    with precision(128):
        pool = Pool()
        third = [arb(1) / 3, arb(2) / 6]
        assert pool.keep(third[0]) is pool.keep(third[1])
        assert pool.keep(arb(1, 2)) is not pool.keep(arb(1, 3))
        assert pool.keep(arb(2, 2)) is not pool.keep(arb(1, 2))
        assert pool.keep(arb(0.5)) is pool.number(0.5)
        assert pool.number(-0.0) is pool.number(0.0)


def test_what_is_not_finite_stands_for_itself() -> None:
    pool = Pool()
    first, second = arb("nan"), arb("nan")
    assert pool.keep(first) is first
    assert pool.keep(second) is second


def test_real_tokens_alone_are_rows() -> None:
    h = torch.tensor([[1.0, 2.0], [torch.nan, 7.0], [1.0, 3.0]])
    rows = Pool().rows(h, torch.tensor([True, False, True]))
    assert rows == [[1, 2], [1, 3]]
    assert name(rows[0], [0]) == name(rows[1], [0])
    assert name(rows[0], [0, 1]) != name(rows[1], [0, 1])


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one task are \(N, D\), got \(1, 2, 3\)"):
        Pool().rows(torch.zeros(1, 2, 3))
