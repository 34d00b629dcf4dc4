"""1/p and 1/sqrt(p) of scalars: the chords' relative error is exact, steps square it, rounding is bounded."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Construction, HypothesisError, Stream, chords, curves, in_order
from constructions.language.counts import count
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.inverse_sqrt import RootBlocks
from constructions.matrices.newton import (
    ScalarBlocks,
    Scalars,
    reciprocal_construction,
    reciprocal_steps,
    root_steps,
    scalar_root_construction,
    start_of,
)
from constructions.matrices.newton_error import ScalarError, chord_excess, reciprocal_error, root_error

DTYPES = [torch.float64, torch.float32]
U64 = unit_roundoff(torch.float64)
MAKERS = {"1/x": (reciprocal_construction, -1.0), "1/sqrt": (scalar_root_construction, -0.5)}
LAST_BITS = 900 * U64
POWERS = pytest.mark.parametrize("power", MAKERS)


def drawn(low: float, high: float, batch: int, n: int, seed: int) -> torch.Tensor:
    """Numbers of float32 in [low, high], logarithms uniform, both ends among them."""
    generator = torch.Generator().manual_seed(seed)
    x = low * (high / low) ** torch.rand(batch, n, dtype=torch.float64, generator=generator)
    x[0, 0], x[-1, -1] = low, high
    return x.float().double().clamp(low, high)


def relative_error(built: Scalars, x: torch.Tensor, dtype: torch.dtype, evaluation: str) -> float:
    """Largest relative error of the values, and of the square roots where they come out."""
    power = MAKERS[built.power][1]
    found = built.run(torch.diag_embed(x), dtype, evaluation)  # pyright: ignore[reportArgumentType]
    exact = [x**power] if len(found) == 1 else [x**power, x**-power]
    worst = 0.0
    for matrix, values in zip(found, exact, strict=True):
        diagonal = matrix.double().diagonal(dim1=-2, dim2=-1)
        assert torch.equal(torch.diag_embed(diagonal), matrix.double())  # exact zeros off the diagonal
        worst = max(worst, float((diagonal / values - 1).abs().max()))
    return worst


@POWERS
@pytest.mark.parametrize(("low", "high", "pieces"), [(0.25, 4.0, 3), (1e-2, 1e2, 8), (0.5, 0.75, 1)])
def test_the_relative_error_of_the_chords_is_exact(power: str, low: float, high: float, pieces: int) -> None:
    """Attained within a piece, at its middle for 1/x; 4000 points a piece find all but 1e-6 of it."""
    start = start_of(power, low, high, pieces)  # pyright: ignore[reportArgumentType]
    f, exponent = start.function, MAKERS[power][1]
    t = np.linspace(0, 1, 4001)
    x = f.knots[:-1, None] + (f.knots[1:] - f.knots[:-1])[:, None] * t
    excess = f(torch.as_tensor(x)).numpy() / x**exponent - 1
    found = chord_excess(f)
    assert excess.max() <= found + 40 * U64
    assert excess.max() >= found * (1 - 1e-6)
    assert excess.min() >= -40 * U64
    scaled = start.scale * (1 + excess) - 1
    assert np.abs(scaled).max() <= start.error + 40 * U64
    assert abs(start.error - found / (2 + found)) <= gamma(4, U64)  # 1 - scale: four operations of size 1
    assert start.bound >= 1.0625 * float(f.values.max())


@POWERS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize(("low", "high", "pieces"), [(0.25, 4.0, 4), (0.0078125, 128.0, 16)])
def test_the_error_is_within_its_bound(
    power: str, low: float, high: float, pieces: int, evaluation: str, dtype: torch.dtype
) -> None:
    """The exact value is within an ulp, the quotient rounds once more: 4 u."""
    x = drawn(low, high, 60, 5, seed=1)
    for steps in (1, 2, 3, 5):
        built = MAKERS[power][0](5, low, high, pieces, steps)
        bound = built.error(dtype)
        assert bound.total < 1
        assert relative_error(built, x, dtype, evaluation) <= bound.total + 4 * U64


@POWERS
def test_64_chords_and_four_steps_give_the_last_bits(power: str) -> None:
    """Over twelve decades. Values over sixteen cannot be put by a place with one bound; roots can.

    LAST_BITS, 900 u, is what is claimed: the rounding of four steps, some hundred u of the last of them.
    What is left without rounding is far below a u, so that a step less would not do.
    """
    built = MAKERS[power][0](5, 1e-8, 1e4, 64, 4)
    bound = built.error(torch.float64)
    assert bound.approximation < 1e-9 * U64
    assert bound.total < LAST_BITS
    assert relative_error(built, drawn(1e-8, 1e4, 60, 5, seed=2), torch.float64, "structured") <= bound.total
    wide = MAKERS[power][0](5, 1e-8, 1e8, 64, 4)
    assert (wide.error(torch.float64).total < LAST_BITS) == (power == "1/sqrt")
    assert power == "1/sqrt" or wide.error(torch.float64).total == math.inf


@POWERS
def test_one_step_less_breaks_the_bound(power: str) -> None:
    """At the points where the scaled chords err most."""
    low, high, pieces = 0.25, 4.0, 4
    make, exponent = MAKERS[power]
    f = start_of(power, low, high, pieces).function  # pyright: ignore[reportArgumentType]
    grid = torch.as_tensor(np.linspace(f.knots[:-1], f.knots[1:], 201).T.ravel())
    worst = (f(grid) * grid**-exponent).topk(3).indices
    x = grid[worst][None]
    for steps in (2, 3):
        less = make(3, low, high, pieces, steps - 1)
        error = relative_error(less, x, torch.float64, "structured")
        assert error > make(3, low, high, pieces, steps).error(torch.float64).total
        assert error <= less.error(torch.float64).total


@POWERS
def test_the_recursion_of_the_approximation(power: str) -> None:
    """The start's error is a difference from 1, off by some u; relative, 2^3 times that in the end."""
    make = MAKERS[power][0]
    e = start_of(power, 0.1, 10.0, 8).error  # pyright: ignore[reportArgumentType]
    relative = 2**3 * gamma(8, U64) / e
    for steps in (1, 2, 3):
        e = e**2 if power == "1/x" else 1.5 * e**2 + e**3 / 2
        found = make(1, 0.1, 10.0, 8, steps).error().approximation
        assert found <= e * (1 + relative)
        assert found >= 0.9 * e


def test_layers_heads_and_weights() -> None:
    for power, extra in (("1/x", 2), ("1/sqrt", 3)):
        few, many = (count(MAKERS[power][0](4, 0.1, 10.0, 8, t).construction) for t in (1, 6))
        assert (few.layers, many.layers) == (extra + 1, extra + 6)
        assert few.parameters == many.parameters
        assert few.heads == (4 if power == "1/x" else 8)


@POWERS
@settings(max_examples=20)
@given(
    values=st.lists(st.floats(0.5, 8.0, width=32), min_size=1, max_size=4),
    pieces=st.integers(1, 12),
    steps=st.integers(1, 4),
)
def test_any_numbers_pieces_and_steps(power: str, values: list[float], pieces: int, steps: int) -> None:
    built = MAKERS[power][0](4, 0.5, 8.0, pieces, steps)
    x = torch.tensor([values], dtype=torch.float64)
    for dtype in DTYPES:
        bound = built.error(dtype)
        assert bound.total < 1
        assert relative_error(built, x, dtype, "structured") <= bound.total + 4 * U64


@POWERS
def test_a_token_without_ids_stays_zero(power: str) -> None:
    built = MAKERS[power][0](3, 0.25, 4.0, 4, 2)
    tokens = built.tokens(torch.diag_embed(drawn(0.25, 4.0, 2, 3, seed=4))).dense()
    longer = torch.cat([tokens, torch.zeros(2, 2, tokens.shape[-1]).double()], 1)
    out = built.to_transformer()(longer).detach()
    assert not out[:, 3:].any()
    x = drawn(0.25, 4.0, 2, 3, seed=4)
    (alone, *_) = built.run(torch.diag_embed(x), evaluation="dense")
    longer_sums = out[:, :3, built.results[0].slice]
    # Sums over five tokens and over three: each is off by its rounding, relative to the value.
    allowed = 2 * built.error(torch.float64).rounding * torch.diag_embed(x ** MAKERS[power][1])
    assert bool(((longer_sums - alone).abs() <= allowed).all())


@POWERS
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_member_block_the_entry_is_picked(power: str, dtype: torch.dtype, in_floats) -> None:
    """One layer more, and the bound of a pick of entries up to 4."""
    n, steps = 3, 2
    s = Stream(ids=n, A=n, Y=n, Z=n, Y_spare=n, Z_spare=n, entry=1, value=1)
    blocks = ScalarBlocks(s.ids, s.A, s.entry, s.value)
    start = start_of(power, 0.25, 4.0, 4)  # pyright: ignore[reportArgumentType]
    roots = RootBlocks(s.ids, s.A, s.Y, s.Z, s.Y_spare, s.Z_spare)
    parts, bound_of = {
        "1/x": (reciprocal_steps(start, blocks, s.Z, s.Z_spare, steps), reciprocal_error),
        "1/sqrt": (root_steps(start, blocks, roots, steps), root_error),
    }[power]
    layers, order = in_order(*parts)
    assert len(layers) == (4 if power == "1/x" else 5)
    built = Construction("scalars", "a test", s, (s.ids, s.A), layers, order=order)
    x = drawn(0.25, 4.0, 20, n, seed=6)
    given_blocks = {s.ids: torch.eye(n).double().expand(20, n, n), s.A: torch.diag_embed(x)}
    bound = bound_of(start.function, start.scale, start.bound, 4.0, steps, dtype)
    for dense in (False, True):
        Z = in_floats(built, given_blocks, dtype, dense)[..., s.Z.slice].double()
        error = Z.diagonal(dim1=1, dim2=2) / x ** MAKERS[power][1] - 1
        assert float(error.abs().max()) <= bound.total + 4 * U64
        assert torch.equal(torch.diag_embed(Z.diagonal(dim1=1, dim2=2)), Z)


def test_of_is_the_function_itself() -> None:
    built = reciprocal_construction(3, 0.5, 2.0, 8, 4)
    x = torch.tensor([[0.5, 1.0, 1.5]], dtype=torch.float64)
    assert float((built.of(x) * x - 1).abs().max()) <= built.error(torch.float64).total + 4 * U64


def test_what_is_not_covered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the eigenvalues lie in \[-1, 1\]; 0 < low <= high are needed"):
        reciprocal_construction(3, -1.0, 1.0, 4, 2)
    with pytest.raises(ValueError, match="pieces is 0; it is a whole number, at least 1"):
        reciprocal_construction(3, 0.5, 1.0, 0, 2)
    with pytest.raises(ValueError, match="steps is 0; a whole number, at least 1, is needed"):
        scalar_root_construction(3, 0.5, 1.0, 4, 0)
    with pytest.raises(ValueError, match="power is 'x'; it is 1/x or 1/sqrt"):
        start_of("x", 0.5, 1.0, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the curve is square; it is 1/x or 1/sqrt"):
        chord_excess(chords(curves.square, np.array([1.0, 2.0])))
    built = reciprocal_construction(3, 0.5, 1.0, 4, 2)
    with pytest.raises(HypothesisError, match="matrix 0 is not diagonal; one scalar a row is needed"):
        built.run([torch.tensor([[1.0, 0.5], [0.5, 1.0]])])
    with pytest.raises(HypothesisError, match=re.escape("has the eigenvalue 3; they must lie in [0.5, 1]")):
        built.run([torch.diag(torch.tensor([1.0, 3.0]))])
    assert ScalarError(0.25, 0.5).total == 0.75
    assert reciprocal_construction(1, 1.0, 1.0, 1, 3).error(torch.float64).total < 1  # one number is a range
