"""Contractions, factors and eigenvalues of balls hold those of the matrices."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from constructions.language import curves
from constructions.language.piecewise import chords, geometric
from constructions.language.rounding import number, rounded_difference
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, balls, entries_of, lower_ends, upper_ends
from verify.balls.flint import arb
from verify.balls.numbers import fraction

BITS = 128
G = torch.Generator().manual_seed(5)


def held(found: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> bool:
    """Whether the ends of the balls lie within."""
    return bool((lower_ends(found) >= low).all() and (upper_ends(found) <= high).all())


def whole(*shape: int) -> torch.Tensor:
    return torch.randint(-9, 10, shape, generator=G).double()


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bijm,bj,bm->bi", ((2, 3, 3, 3), (2, 3), (2, 3))),
        ("bijm,bjm->bi", ((2, 3, 3, 3), (2, 3, 3))),
        ("bijm,bm->bij", ((2, 3, 3, 3), (2, 3))),
        ("ij,jk->ki", ((2, 3), (3, 4))),
        ("bij,bj->b", ((2, 3, 4), (2, 4))),
        ("bij->bj", ((2, 3, 4),)),
        ("i,j->ij", ((2,), (3,))),
    ],
)
def test_a_contraction_of_whole_numbers_is_exact(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    parts = [whole(*shape) for shape in shapes]
    expected = torch.einsum(equation, *parts)
    with ball_arithmetic(BITS):
        found = torch.einsum(equation, *map(balls, parts))
    assert tuple(found.shape) == tuple(expected.shape)
    assert held(found, expected, expected)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_factors_inverses_and_eigenvalues_hold_theirs(n: int) -> None:
    root = whole(3, n, n) + 20 * torch.eye(n)
    S = root @ root.mT
    with ball_arithmetic(BITS):
        L = torch.linalg.cholesky(balls(S))
        again, unit = L @ L.mT, torch.cholesky_inverse(L) @ balls(S)
        solved = L @ torch.linalg.solve_triangular(L, balls(S), upper=False)
        values = torch.linalg.eigvalsh(balls(S))
        trace = values.sum(-1)
    near = 1e-20
    for found, expected in ((again, S), (solved, S), (unit, torch.eye(n).double().expand_as(S))):
        assert (lower_ends(found) <= expected).all()
        assert (upper_ends(found) >= expected).all()
        assert all(entry.rad() < near for entry in entries_of(found))
    exact = S.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert ((lower_ends(trace) <= exact) & (upper_ends(trace) >= exact)).all()
    assert torch.allclose(lower_ends(values), torch.linalg.eigvalsh(S), rtol=1e-12)


def test_equal_eigenvalues_are_held_and_a_matrix_that_is_not_definite_has_no_certain_factor() -> None:
    with ball_arithmetic(BITS):
        values = torch.linalg.eigvalsh(balls(torch.eye(3).double()))
        factor = torch.linalg.cholesky(balls(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)))
    assert (lower_ends(values) <= 1).all()
    assert (upper_ends(values) >= 1).all()
    assert upper_ends(factor)[1, 1].isinf()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rounding_a_ball_gives_what_its_numbers_may_be_rounded_to(dtype: torch.dtype) -> None:
    with ball_arithmetic(BITS):
        third = rounded_difference(number(Fraction(1, 3)), 0.0, dtype)
        tie = rounded_difference(number(1.0), -(2.0**-24), torch.float32)
        around = rounded_difference(Balls.of([arb(1, 2.0**-20)], ()), 0.0, dtype)
    expected = torch.tensor(1 / 3, dtype=torch.float64).to(dtype).double()
    assert held(third, expected, expected)
    assert lower_ends(tie) <= 1 <= upper_ends(tie)
    assert 1 - 2.0**-19 <= lower_ends(around) <= 1 - 2.0**-20
    assert 1 + 2.0**-20 <= upper_ends(around) <= 1 + 2.0**-19


def test_a_fraction_is_held_and_a_dyadic_one_is_exact() -> None:
    with ball_arithmetic(BITS):
        third, half = number(Fraction(1, 3)), number(Fraction(1, 2))
    assert isinstance(third, Balls)
    assert isinstance(half, Balls)
    assert lower_ends(third) <= 1 / 3 <= upper_ends(third)
    assert fraction(half.entries[0]) == Fraction(1, 2)


@pytest.mark.parametrize("anchor", [0, 7, -1])
def test_the_rounding_at_a_ball_is_that_of_all_its_numbers(anchor: int) -> None:
    f = chords(curves.log, geometric(1e-6, 1.0, 20), anchor=anchor)
    x, r = torch.tensor([1e-7, 1e-5, 0.003, 0.4, 2.0], dtype=torch.float64), 1e-3
    inside = torch.stack([x - r * x, x, x + r * x])
    floats = f.rounding_error_at(torch.float32, inside)
    with ball_arithmetic(BITS):
        wide = Balls.of([arb(v, 1.001 * r * v) for v in x.tolist()], (5,))
        found = f.rounding_error_at(torch.float32, wide)
    assert (upper_ends(found) >= floats.amax(0) * (1 - 1e-12)).all()
    assert (upper_ends(found) <= floats.amax(0) * 1.3).all()
