"""Torch functions in intervals mean what torch means, and hold what balls of 256 bits hold."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from enclosures import three, unheld
from formulas import FORMULAS, LEAVES, MASK, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constructions.language.rounding import above, approximately, below, length, number, rounded_difference
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import balls
from verify.balls.functions import TABLE as IN_BALLS
from verify.enclosure.refusals import Undecided
from verify.intervals.arithmetic import interval_arithmetic
from verify.intervals.array import Intervals, NotInIntervalsError, intervals
from verify.intervals.choices import lower_ends, middles, upper_ends
from verify.intervals.functions import TABLE

WIDTH = 2.0**-44
"""Of numbers of size 1 and no cancelling: some hundred roundings of float64 are below it."""

SMALLEST, NORMAL, LARGEST = 5e-324, 2.0**-1022, 1.7976931348623157e308
HOSTILE = [
    *(0.0, SMALLEST, NORMAL, math.nextafter(NORMAL, 0), 1e-160, 2.0**-53, 0.1, 1 / 3),
    *(math.nextafter(1, 0), 1.0, math.nextafter(1, 2), 2.5, 709.0, 745.2, 1e8, 1e160, LARGEST, math.inf),
]
HOSTILE += [-x for x in HOSTILE[1:]]

OF_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        name: getattr(torch, name)
        for name in ("neg", "abs", "square", "sqrt", "exp", "expm1", "log", "log1p")
    },
    **{
        name: getattr(torch, name)
        for name in ("tanh", "sinh", "cosh", "reciprocal", "sigmoid", "ceil", "relu")
    },
    "logsigmoid": torch.nn.functional.logsigmoid,
    "cube": lambda x: x**3,
    "inverse square": lambda x: x**-2,
    "half": lambda x: x**0.5,
}
OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "maximum", "minimum")
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_means_what_it_means_in_torch_and_holds_the_ball(name: str) -> None:
    found, exact, expected = three(FORMULAS[name], numbers())
    assert tuple(found.shape) == tuple(expected.shape)
    assert bool(((found.high - found.low) <= WIDTH * expected.abs().clamp_min(1)).all())
    assert bool(((middles(found) - expected).abs() <= WIDTH * expected.abs().clamp_min(1)).all())
    if name != "matrix norms":  # whose ball is wider than the interval
        assert unheld(found, exact, expected) == []


@pytest.mark.parametrize("name", OF_ONE)
def test_a_function_of_hostile_numbers_holds_the_ball(name: str) -> None:
    x = torch.tensor(HOSTILE, dtype=torch.float64)
    assert unheld(*three(OF_ONE[name], x)) == []


@pytest.mark.parametrize("name", OF_TWO)
def test_a_function_of_two_hostile_numbers_holds_the_ball(name: str) -> None:
    a, b = (
        torch.tensor(part, dtype=torch.float64)
        for part in zip(*itertools.product(HOSTILE, HOSTILE), strict=True)
    )
    assert unheld(*three(OF_TWO[name], a, b)) == []


@pytest.mark.parametrize("name", OF_TWO)
def test_wide_intervals_hold_what_their_numbers_give(name: str) -> None:
    g = torch.Generator().manual_seed(1)
    ends = torch.randn(4, 300, generator=g, dtype=torch.float64)
    ends[:, :60] *= torch.tensor([0.0, 1.0, -1.0, 1e200, math.inf]).double().repeat_interleave(12)
    ends = ends.nan_to_num(0.0, math.inf, -math.inf)
    a, b = (Intervals.of(*ends[2 * i : 2 * i + 2].sort(0).values) for i in range(2))
    found = intervals(OF_TWO[name](a, b))
    for s, t in itertools.product((0.0, 0.25, 1.0), repeat=2):
        x, y = (
            torch.where(v.low == v.high, v.low, v.low + w * (v.high - v.low)) for v, w in ((a, s), (b, t))
        )
        x, y = (torch.minimum(torch.maximum(p, v.low), v.high).nan_to_num(0.0) for p, v in ((x, a), (y, b)))
        inside = (x >= a.low) & (x <= a.high) & (y >= b.low) & (y <= b.high)
        with ball_arithmetic(256):
            exact = OF_TWO[name](x[inside], y[inside])
        assert unheld(intervals(found[inside]), exact, OF_TWO[name](x[inside], y[inside])) == []


finite = st.floats(-1e100, 1e100)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-745, 709.0), min_size=3, max_size=3), st.lists(finite, min_size=3, max_size=3))
def test_any_numbers(small: list[float], large: list[float]) -> None:
    x, y = (torch.tensor(v, dtype=torch.float64) for v in (small, large))
    for formula in (torch.exp, torch.expm1, torch.tanh, torch.sigmoid, torch.nn.functional.logsigmoid):
        assert unheld(*three(formula, x)) == []
    for formula in (torch.log, torch.log1p, torch.sqrt):
        assert unheld(*three(formula, y.abs())) == []
    for formula in OF_TWO.values():
        assert unheld(*three(formula, x, y)) == []
    assert unheld(*three(torch.logsumexp, x, -1)) == []
    assert unheld(*three(lambda v: (v - 1e16) + 1e16 + v.cumsum(-1) + v.sum() + v.norm() + (v @ v), y)) == []


def test_torchs_functions_are_within_the_ulps_that_are_assumed() -> None:
    """A third of the allowance is left at points drawn over the whole range."""
    g = torch.Generator().manual_seed(0)
    size = 10 ** (torch.rand(4000, generator=g, dtype=torch.float64) * 310 - 307)
    sign = torch.where(torch.rand(4000, generator=g) < 0.5, -1.0, 1.0).double()
    for name in ("exp", "expm1", "tanh", "sinh", "cosh"):
        x = sign * torch.where(size > 700, 700 * size / (size + 1e3), size)
        assert unheld(*three(getattr(torch, name), x)) == []
    for name in ("log", "log1p"):
        assert unheld(*three(getattr(torch, name), size)) == []
        assert unheld(*three(getattr(torch, name), 1 + sign * size.clamp_max(0.5))) == []


@pytest.mark.parametrize(
    "values",
    [
        [1e16, 1.0, -1e16],
        [1e308, 1e308, -1e308, -1e308],
        [SMALLEST, -SMALLEST, 3 * SMALLEST],
        [0.1] * 10,
        [1.0, math.inf, -5.0],
        [math.inf, -math.inf],
        [-math.inf, 0.0],
        [],
    ],
)
@pytest.mark.parametrize(
    "formula", [torch.sum, torch.mean, lambda x: x.cumsum(-1), lambda x: x[:, None].mT @ x]
)
def test_sums_hold_theirs_in_any_order(values: list[float], formula: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    assert unheld(*three(formula, x)) == []


def test_lengths_of_any_size() -> None:
    x = torch.tensor([[3e-200, 4e-200], [3e200, 4e200], [0.0, 0.0], [SMALLEST, 0.0]], dtype=torch.float64)
    for formula in (length, lambda v: v.norm(dim=-1), torch.linalg.vector_norm):
        found, exact, floats = three(formula, x)
        assert unheld(found, exact, floats) == []
    found, _, _ = three(length, x)
    assert found.high[0] < 5e-200 * (1 + 1e-14)
    assert found.high[1] < 5e200 * (1 + 1e-14)
    assert found.high[2] == 0


def test_zeros_stay_exact() -> None:
    x = torch.tensor([0.0, 2.0, -3.0], dtype=torch.float64)
    with interval_arithmetic():
        made = [x * 0.1 / 3 - 0.0 + 0, (x[:1] @ x[:1])[None] * x, (x - x).exp() - 1, x[:1].sqrt().log1p()]
    for part in made:
        y = intervals(part)
        assert bool((y.low[..., 0] == 0).all())
        assert bool((y.high[..., 0] == 0).all())


def test_every_function_of_balls_is_known() -> None:
    """But eigenvectors, which balls alone enclose."""
    assert set(IN_BALLS) - set(TABLE) == {"linalg_eigh", "linalg_svdvals", "linalg_lstsq", "leading_axes"}


def test_ends_are_outward() -> None:
    with interval_arithmetic():
        third = number(1.0) / 3
        assert bool(above(third) > below(third))
    assert float(lower_ends(third)) < 1 / 3 < float(upper_ends(third))
    with interval_arithmetic():
        assert not isinstance(approximately(third), Intervals)


def test_overlapping_intervals_are_not_compared() -> None:
    with interval_arithmetic():
        a, b = number(2.0).sqrt(), number(2.0).log().exp().sqrt()
        for compare in (torch.lt, torch.le, torch.gt, torch.ge, torch.eq):
            with pytest.raises(Undecided):
                compare(a, b)
        with pytest.raises(Undecided):
            torch.stack([a, b]).argsort()
        assert torch.stack([a, a + 1, a - 1]).argsort().tolist() == [2, 0, 1]
        assert int(torch.stack([a, a + 1, a - 1]).argmax()) == 1


@pytest.mark.parametrize("leave", LEAVES)
def test_an_interval_does_not_become_a_float_by_itself(leave: Callable[[Tensor], object]) -> None:
    with interval_arithmetic(), pytest.raises(NotInIntervalsError):
        leave(number(2.0).sqrt())


def test_what_is_not_known_is_refused() -> None:
    root = intervals(torch.tensor(2.0).double()).sqrt()
    with interval_arithmetic():
        with pytest.raises(NotInIntervalsError, match="lgamma"):
            torch.lgamma(root)
        with pytest.raises(NotInIntervalsError, match="padding by 1"):
            torch.nn.functional.pad(root[None], (1, 0), value=1.0)
        with pytest.raises(NotInIntervalsError, match="float32"):
            root.to(torch.float32)
        with pytest.raises(NotInIntervalsError, match="whole numbers"):
            intervals(torch.tensor([2**53 + 1]))
    ordinary = torch.zeros(2, dtype=torch.float64)
    with interval_arithmetic(), pytest.raises(TypeError, match="new_zeros"):
        ordinary[0] = root


def test_whole_numbers_and_masks_stay_torchs() -> None:
    with interval_arithmetic():
        assert not isinstance(torch.arange(3) + 1, Intervals)
        assert int(MASK.sum()) == 9
        assert bool((MASK | ~MASK).all())
        assert not isinstance(MASK.double().amax(), Intervals)


def test_the_tensor_beneath_holds_nothing() -> None:
    root = intervals(torch.tensor([2.0, 3.0]).double()).sqrt()
    with torch._C.DisableTorchFunction():
        assert bool(torch.Tensor.isnan(root).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_difference_is_rounded_once(dtype: torch.dtype) -> None:
    """In float64 exactly as the hardware rounds it; the ball of the same numbers is inside in both."""
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64) / 3
    with interval_arithmetic():
        found = rounded_difference(intervals(x), 36.0, dtype)
    with ball_arithmetic(128):
        exact = rounded_difference(balls(x), 36.0, dtype)
    assert unheld(found, exact, (x - 36.0).to(dtype).double()) == []
    if dtype == torch.float64:
        assert torch.equal(found.low, x - 36.0)
        assert torch.equal(found.high, x - 36.0)
