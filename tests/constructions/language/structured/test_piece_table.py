"""A piecewise-linear function by its pieces: the right piece, and no more rounding than the hinges have."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions.language import curves
from constructions.language.piecewise import PiecewiseLinear, chords, geometric, uniform
from constructions.language.structured.piece_table import ExactPieces, PieceTable, buckets_for

DTYPES = [torch.float64, torch.float32]


def functions() -> dict[str, PiecewiseLinear]:
    """From one piece to a thousand; anchors at the right end, in the middle, at the left end."""
    found = {}
    for M in (1, 2, 3, 17, 1000):
        for floor in (1e-30, 1e-8, 0.3):
            found[f"log {M} {floor}"] = chords(curves.log, geometric(floor, 1.0, M), inputs=(0.0, 1.0))
        for radius in (1e-3, 12.0, 1e6):
            found[f"square {M} {radius}"] = chords(curves.square, uniform(-radius, radius, M), anchor=M // 2)
        for anchor in (0, M // 2, M):
            found[f"root {M} {anchor}"] = chords(curves.inverse_sqrt, geometric(1e-8, 1e4, M), anchor=anchor)
    return found


FUNCTIONS = functions()


def hostile_points(f: PiecewiseLinear, dtype: torch.dtype) -> torch.Tensor:
    """Knots, their neighbours in ``dtype``, the ends of the inputs, points near the anchor and at random."""
    g = torch.Generator().manual_seed(0)
    low, high = f.inputs
    knots = torch.as_tensor(f.knots)[torch.randint(0, len(f.knots), (40,), generator=g)].to(dtype)
    above, below = (torch.nextafter(knots, torch.full_like(knots, end)) for end in (math.inf, -math.inf))
    anchor = f.knots[f.anchor] * (1 - 10.0 ** -np.arange(1.0, 17.0))
    spread = low + (high - low) * torch.rand(40, generator=g, dtype=torch.float64)
    ends = torch.tensor([low, high, *f.domain], dtype=torch.float64)
    x = torch.cat([knots, above, below, *(p.to(dtype) for p in (torch.as_tensor(anchor), spread, ends))])
    return x[(x >= low) & (x <= high)]


def exact(f: PiecewiseLinear, x: torch.Tensor) -> np.ndarray:
    return ExactPieces(f)(np.vectorize(Fraction, otypes=[object])(x.double().numpy()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_rounding_stays_within_that_of_the_hinges_at_every_point(name: str, dtype: torch.dtype) -> None:
    f = FUNCTIONS[name]
    x = hostile_points(f, dtype)
    computed = PieceTable(f, dtype, "cpu")(x).double().numpy()
    off = [abs(float(Fraction(float(y)) - z)) for y, z in zip(computed, exact(f, x), strict=True)]
    assert (np.array(off) <= f.rounding_error_at(dtype, x.double()).numpy()).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_piece_is_the_number_of_knots_up_to_x(name: str, dtype: torch.dtype) -> None:
    f = FUNCTIONS[name]
    table = PieceTable(f, dtype, "cpu")
    assert table.buckets is not None, "the knots of this test are even enough for buckets"
    far = torch.tensor([-math.inf, -1e30, -0.0, 0.0, 1e30, math.inf], dtype=dtype)
    x = torch.cat([hostile_points(f, dtype), far])
    assert torch.equal(table.buckets.piece(x).long(), torch.searchsorted(table.knots, x, right=True))


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=12, unique=True),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=12),
    st.sampled_from(DTYPES),
)
@settings(max_examples=150, deadline=None)
def test_buckets_find_the_piece_for_any_knots(knots: list[float], x: list[float], dtype: torch.dtype) -> None:
    """Knots as uneven as may be, subnormal ones too: buckets are right or there are none."""
    increasing = torch.tensor(sorted({k + 0.0 for k in knots}), dtype=dtype)
    if len(increasing) < 2:
        return
    found = buckets_for(increasing)
    points = torch.cat([torch.tensor(x, dtype=dtype), increasing])
    if found is not None:
        assert torch.equal(found.piece(points).long(), torch.searchsorted(increasing, points, right=True))


def test_knots_that_one_dtype_cannot_tell_apart_are_bisected() -> None:
    """In float32 two of the knots are one number; the function is the same within its rounding."""
    f = chords(curves.log, np.array([0.1, 0.5, 0.5 + 1e-12, 1.0]))
    table = PieceTable(f, torch.float32, "cpu")
    assert table.buckets is None
    x = torch.linspace(0.1, 1.0, 50)
    off = [abs(float(Fraction(float(y)) - z)) for y, z in zip(table(x), exact(f, x), strict=True)]
    assert (np.array(off) <= f.rounding_error_at(torch.float32, x.double()).numpy()).all()


def test_hinges_and_pieces_are_one_function_in_fractions() -> None:
    """Knots and values of few bits, so that the slopes are exact: equal at and between knots, and outside."""
    for anchor in range(5):
        f = chords(curves.square, np.array([-2.0, -1.0, 0.5, 1.0, 3.0]), anchor=anchor)
        x = np.array([Fraction(n, 8) for n in range(-24, 33)], dtype=object)
        hinges = [
            Fraction(f.offset)
            + sum(
                Fraction(c) * max(Fraction(s) * (point - Fraction(t)), 0)
                for c, s, t in zip(f.hinge_weights, f.hinge_signs, f.hinge_knots, strict=True)
            )
            for point in x
        ]
        assert list(ExactPieces(f)(x)) == hinges


def test_what_is_no_number_stays_none() -> None:
    for name in ("log 17 1e-08", "square 17 12.0"):
        for dtype in DTYPES:
            table = PieceTable(FUNCTIONS[name], dtype, "cpu")
            assert table.buckets is not None
            assert table(torch.tensor([math.nan], dtype=dtype)).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_knots_a_few_units_apart_and_numbers_far_below_them(dtype: torch.dtype) -> None:
    """Where a bucket is one number, bits of negative numbers less the first knot's leave the integers."""
    one = torch.ones((), dtype=dtype)
    near = torch.nextafter(one, 2 * one)
    knots = torch.stack([one, near, torch.nextafter(near, 2 * one)])
    x = torch.tensor([-0.999, -0.5, -1e-30, -0.0, 0.0, 0.5, 1.0, 1.5, -3.0], dtype=dtype)
    found = buckets_for(knots)
    assert found is not None
    assert torch.equal(found.piece(x).long(), torch.searchsorted(knots, x, right=True))


def test_subnormal_knots_and_other_dtypes_are_bisected() -> None:
    tiny = torch.tensor([0.0, 1e-45])
    found, x = buckets_for(tiny), torch.tensor([-1.0, 0.0, 1e-45, 1.0])
    assert found is None or torch.equal(found.piece(x).long(), torch.searchsorted(tiny, x, right=True))
    assert buckets_for(torch.tensor([0.5, 1.0], dtype=torch.bfloat16)) is None


def test_numbers_of_fewer_digits_than_the_table() -> None:
    """As under autocast: they are taken as they are, and the values have the table's dtype."""
    table = PieceTable(FUNCTIONS["log 17 1e-08"], torch.float32, "cpu")
    x = torch.tensor([0.25, 0.5], dtype=torch.bfloat16)
    assert torch.equal(table(x), table(x.float()))
