"""Products, contractions, factors, eigenvalues and norms of intervals hold those of the matrices."""

from __future__ import annotations

import pytest
import torch
from enclosures import three, unheld
from torch import Tensor

from verify.balls.arithmetic import ball_arithmetic
from verify.enclosure.refusals import Undecided
from verify.intervals.arithmetic import interval_arithmetic
from verify.intervals.array import Intervals, intervals

G = torch.Generator().manual_seed(5)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def test_products_of_numbers_of_any_size_hold_the_ball() -> None:
    for scale in (1.0, 1e-160, 1e150):
        a, b = drawn(2, 3, 4) * scale, drawn(2, 4, 5) * scale
        a[0, 0] = 0
        b[1, :, 0] = -a[1, 0] / scale  # a row and a column that nearly cancel
        found, exact, floats = three(torch.matmul, a, b)
        assert unheld(found, exact, floats) == []
        assert bool((found.high[0, 0] == 0).all())
        assert unheld(*three(torch.matmul, a.abs(), b.abs())) == []


def test_products_of_wide_intervals_hold_those_of_their_numbers() -> None:
    middles, radii = (drawn(3, 4), drawn(4, 2)), (drawn(3, 4).abs(), drawn(4, 2).abs())
    wide = [Intervals.of(m - r, m + r) for m, r in zip(middles, radii, strict=True)]
    found = intervals(wide[0] @ wide[1])
    mixed = intervals(wide[0] @ middles[1])
    for _ in range(50):
        a, b = (
            m + r * (2 * torch.rand(m.shape, generator=G, dtype=torch.float64) - 1).sign() * 0.999
            for m, r in zip(middles, radii, strict=True)
        )
        with ball_arithmetic(128):
            exact, of_one = a @ b, a @ middles[1]
        assert unheld(found, exact, a @ b) == []
        assert unheld(mixed, of_one, a @ middles[1]) == []


def test_products_with_infinite_entries_are_those_of_torch() -> None:
    a, b = drawn(3, 4), drawn(4, 2)
    a[0, 0], b[2, 1] = torch.inf, -torch.inf
    for left, right in ((a, b), (a, b[:, 1]), (a[0], b), (a[0], b[:, 1]), (a[1], b[:, 0])):
        found, exact, floats = three(torch.matmul, left, right)
        assert found.shape == floats.shape
        assert unheld(found, exact, floats) == []


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bijm,bj,bm->bi", ((2, 3, 3, 3), (2, 3), (2, 3))),
        ("ij,jk->ki", ((2, 3), (3, 4))),
        ("bij->bj", ((2, 3, 4),)),
        ("i,j->ij", ((2,), (3,))),
    ],
)
def test_contractions_hold_the_ball(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    parts = [drawn(*shape) for shape in shapes]
    assert unheld(*three(lambda *given: torch.einsum(equation, *given), *parts)) == []


@pytest.mark.parametrize("condition", [1.0, 1e6])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_factors_inverses_and_eigenvalues_hold_the_ball(n: int, condition: float) -> None:
    root = drawn(3, n, n) * torch.logspace(0, -0.5, n, dtype=torch.float64) ** torch.tensor(condition).log10()
    S = root @ root.mT + torch.eye(n).double() / condition
    b = drawn(3, n, 2)
    formulas = (
        torch.linalg.cholesky,
        torch.linalg.eigvalsh,
        lambda x: torch.cholesky_inverse(torch.linalg.cholesky(x)),
        lambda x: torch.linalg.solve_ex(x, b)[0],
        lambda x: torch.linalg.solve_triangular(torch.linalg.cholesky(x), b, upper=False),
    )
    for formula in formulas:
        found, exact, floats = three(formula, S)
        assert unheld(found, exact, floats) == []
        assert bool((found.high - found.low <= 1e-9 * condition * (1 + found.high.abs())).all())


@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 5, 2), (1, 1, 1)])
def test_spectral_norms_are_narrow_and_hold_the_value(shape: tuple[int, ...]) -> None:
    x = drawn(*shape)
    x[0, 0] = 0
    found, exact, floats = three(lambda A: torch.linalg.matrix_norm(A, 2), x)
    assert unheld(found, exact, floats) == []
    assert bool((found.high <= floats * (1 + 1e-13) + 1e-300).all())


def test_what_may_be_singular_or_not_definite_is_not_decided() -> None:
    singular = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64)
    with interval_arithmetic():
        with pytest.raises(Undecided):
            torch.linalg.solve_ex(singular, singular)
        factor = torch.linalg.cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64))
    assert bool(intervals(factor).high[1, 1].isinf())
