"""Torch functions in balls mean what torch means, and enclose what more bits give."""

import math
from collections.abc import Callable

import pytest
import torch
from formulas import FORMULAS, LEAVES, MASK, numbers
from torch import Tensor

from constructions.language.rounding import above, approximately, below, number
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, NotInBallsError, balls, entries_of, lower_ends, middles, upper_ends
from verify.balls.flint import Undecided

AGREE = 2.0**-44
"""Of numbers of size 1 and no cancelling: some hundred roundings of float64 are below it."""


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_means_what_it_means_in_torch(name: str) -> None:
    x = numbers()
    expected = FORMULAS[name](x)
    with ball_arithmetic(128):
        found = FORMULAS[name](x)
    found = balls(found)
    assert tuple(found.shape) == tuple(expected.shape)
    # The spectral norm is known up to a factor n^(2^-26); all else to many more digits than float64 has.
    tolerance = 2.0**-24 if name == "matrix norms" else AGREE
    off = (middles(found) - expected).abs()
    assert bool((off <= tolerance * expected.abs().clamp_min(1)).all())


@pytest.mark.parametrize("name", FORMULAS)
def test_few_bits_hold_what_many_bits_give(name: str) -> None:
    x = numbers()
    with ball_arithmetic(40):
        coarse = FORMULAS[name](x)
    with ball_arithmetic(300):
        fine = FORMULAS[name](x)
        assert all(c.contains(f) for c, f in zip(entries_of(coarse), entries_of(fine), strict=True))


def test_numbers_of_float64_are_exact_and_their_sum_is_not_rounded() -> None:
    with ball_arithmetic(128):
        total = torch.tensor(0.1, dtype=torch.float64) + torch.tensor(0.2, dtype=torch.float64)
        (entry,) = entries_of(total)
        assert entry.is_exact()
        assert entry != 0.1 + 0.2


def test_ends_are_outward_and_near() -> None:
    with ball_arithmetic(128):
        third = number(1.0) / 3
    assert float(lower_ends(third)) == math.nextafter(1 / 3, 0) or float(lower_ends(third)) == 1 / 3
    assert float(upper_ends(third)) == math.nextafter(float(lower_ends(third)), 1)
    with ball_arithmetic(128):
        assert entries_of(above(third))[0].is_exact()
        assert bool(above(third) > third)
        assert bool(below(third) < third)
        assert not isinstance(approximately(third), Balls)


def test_overlapping_balls_are_not_compared() -> None:
    with ball_arithmetic(64):
        a, b = number(2.0).sqrt(), number(2.0).log().exp().sqrt()
        for compare in (torch.lt, torch.le, torch.gt, torch.ge, torch.eq):
            with pytest.raises(Undecided):
                compare(a, b)


@pytest.mark.parametrize("leave", LEAVES)
def test_a_ball_does_not_become_a_float_by_itself(leave: Callable[[Tensor], object]) -> None:
    with ball_arithmetic(64), pytest.raises(NotInBallsError):
        leave(number(2.0).sqrt())


def test_an_unknown_function_is_refused() -> None:
    with ball_arithmetic(64), pytest.raises(NotInBallsError, match="lgamma"):
        torch.lgamma(number(2.0))


def test_balls_are_not_written_into_an_ordinary_tensor() -> None:
    ordinary = torch.zeros(2, dtype=torch.float64)
    with ball_arithmetic(64), pytest.raises(TypeError, match="new_zeros"):
        ordinary[0] = number(2.0).sqrt()


def test_whole_numbers_and_masks_stay_torchs() -> None:
    with ball_arithmetic(64):
        assert not isinstance(torch.arange(3) + 1, Balls)
        assert int(MASK.sum()) == 9
        assert bool((MASK | ~MASK).all())
        assert not isinstance(MASK.double().amax(), Balls)


def test_arrays_without_entries() -> None:
    with ball_arithmetic(64):
        none = numbers()[:, :0]
        assert entries_of(balls(none).sum(1)) == [0, 0, 0]
        assert entries_of(balls(none) @ balls(none).mT) == [0] * 9
        assert tuple((balls(none).mT @ balls(none)).shape) == (0, 0)
        assert tuple((balls(none) * 2).shape) == (3, 0)


def test_balls_are_padded_by_zero_alone() -> None:
    with ball_arithmetic(64):
        root = number(2.0).sqrt()[None]
        padded = torch.nn.functional.pad(root, (1, 0))
        assert entries_of(padded)[0] == 0
        with pytest.raises(NotInBallsError, match="padding by 1"):
            torch.nn.functional.pad(root, (1, 0), value=1.0)


def test_the_order_is_decided_beyond_what_floats_can_tell() -> None:
    with ball_arithmetic(256):
        step = number(2.0) ** -80
        x = torch.stack([1 + step, number(1.0), 1 + step * 2, number(1.0)])
        assert x.argsort().tolist() in ([1, 3, 0, 2], [3, 1, 0, 2])
        assert int(x.argmax()) == 2
        with pytest.raises(Undecided):
            torch.stack([number(2.0).sqrt(), number(2.0).log().exp().sqrt()]).argsort()
