"""Torch functions in balls mean what torch means, and enclose what more bits give."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from constructions.language.rounding import above, approximately, below, length, number
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, NotInBallsError, balls, entries_of, lower_ends, middles, upper_ends
from verify.balls.flint import Undecided

AGREE = 2.0**-44
"""Of numbers of size 1 and no cancelling: some hundred roundings of float64 are below it."""

MASK = torch.tensor([[True, False, True, True], [True, True, False, True], [False, True, True, True]])
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic": lambda x: (1 - x) / (2 + x) * x + 3 / x - x.square() / -x.abs(),
    "in place of numbers": lambda x: 2 * x + 1 - x / 3 + 0.5**2 - (0.25 - x),
    "roots": lambda x: x.sqrt() + x.rsqrt() + x**0.5 + x**-2 + x.reciprocal() + 2.0**x,
    "exponentials": lambda x: x.exp() + torch.expm1(x) + x.log() + torch.log1p(x) + x.tanh(),
    "logistic": lambda x: torch.nn.functional.logsigmoid(x) + torch.sigmoid(-x) + torch.cosh(x),
    "extremes": lambda x: torch.maximum(x, x.flip(0)) + x.clamp(0.3, 0.9) + x.amax(-1, True) - x.amin(),
    "sums": lambda x: x.sum() + x.sum(0) + x.mean(-1, keepdim=True) + x.cumsum(1) + x.prod(-1, keepdim=True),
    "softmax": lambda x: x.softmax(-1) + x.log_softmax(0) + torch.logsumexp(x, 1, keepdim=True),
    "products": lambda x: x @ x.mT @ x + (x[:, None] @ x.mT)[:, 0].sum() + (x @ x[0])[:, None],
    "norms": lambda x: x.norm(dim=-1, keepdim=True) + length(x)[:, None] + torch.linalg.vector_norm(x),
    "matrix norms": lambda x: torch.linalg.matrix_norm(x) + torch.linalg.matrix_norm(x, ord=2),
    "distances": lambda x: torch.cdist(x, 2 * x, compute_mode="donot_use_mm_for_euclid_dist"),
    "choices": lambda x: torch.where(x > x.mean(), x, -x).masked_fill(~MASK, 0.5),
    "order": lambda x: x.gather(-1, x.argsort(-1)) + x.max(-1, keepdim=True)[0] + x.min(0)[0],
    "movements": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1).mT.reshape(3, 4) + torch.stack([x, x])[1],
    "written": lambda x: _written(x),
    "infinities": lambda x: torch.where(MASK, x, -math.inf).log_softmax(-1).exp(),
}


def _written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made[:, 1:3] = x[:, :2] * x[:, 2:]
    made[0] = 1.5
    return made


def numbers() -> Tensor:
    return torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 0.25


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


@pytest.mark.parametrize(
    "leave",
    [
        float,
        bool,
        int,
        Tensor.bool,
        Tensor.long,
        lambda x: x.item(),
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x.float(),
        lambda x: torch.tensor([x]),
    ],
)
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
