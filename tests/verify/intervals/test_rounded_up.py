"""The bounds of every theorem in intervals hold those in balls, and are printed rounded up."""

from __future__ import annotations

import pytest
import torch

from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import number, sum_above
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import balls
from verify.balls.array import lower_ends as ball_low
from verify.balls.array import upper_ends as ball_high
from verify.balls.functions import TABLE
from verify.engine.measure import drawn, measure
from verify.intervals.rounded_up import rounded_up
from verify.registry import THEOREMS

BITS = 128
WIDER, OF_THE_STATE = 2.0**-20, 2.0**-40
"""How much a printed bound may be above the real one, of itself and of the size of the state: a bound that is
near what rounding makes of a state grows by what rounding makes of the bound's own sums."""

WIDER_OF = {"pca": 2.0**-4}
"""PCA's bound in float64 is near what float64 rounds in it."""

SPECTRAL = {"spectral", "spectral-squares", "spectral-variance"}
QUICK = (
    "em",
    "tensor-power",
    "softmax-tensor-power",
    "least-squares",
    "ridge",
    "pca",
    "kmeans",
    "mirror-descent",
)


SLOW_IN_BALLS = ("em", "softmax-tensor-power")


def case(key: str, dtype: torch.dtype) -> object:
    quick = key in QUICK and dtype == torch.float64
    return pytest.param(key, dtype, marks=() if quick else pytest.mark.slow, id=f"{key}-{dtype}")


@pytest.mark.parametrize(
    ("key", "dtype"),
    [case(key, t) for key in THEOREMS if key not in SPECTRAL for t in (torch.float64, torch.float32)],
)
def test_printed_bounds_hold_the_real_ones(
    key: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLE, "above", balls)  # which widens no ball
    theorem = THEOREMS[key]
    sizes, steps = theorem.sizes[0], theorem.within(1 if key in SLOW_IN_BALLS else 2)
    weights = theorem.construct(sizes, steps, theorem.accuracies[0])
    instance = drawn(theorem, next(iter(theorem.families)), sizes, 1, dtype, torch.Generator().manual_seed(3))
    try:
        states = theorem.run(weights, instance, dtype, steps=steps, evaluation="structured")
    except HypothesisError as refused:
        pytest.skip(str(refused))
    floats = theorem.bounds(weights, instance, states, dtype)
    printed, evaluated = rounded_up(lambda: theorem.bounds(weights, instance, states, dtype))
    assert evaluated == "rounded up"
    with ball_arithmetic(BITS):
        real = theorem.bounds(weights, instance, states, dtype)
        ends = {
            name: (ball_low(x.total), ball_high(x.total), ball_low(x.approximation))
            for name, x in real.items()
        }
    for name, (low, high, approximation) in ends.items():
        shown, floating = printed[name].total, floats[name].total
        claimed, size = floating.isfinite(), states[name].double().nan_to_num(0.0).abs().max()
        assert torch.equal(shown.isfinite(), claimed), name
        assert (shown >= low)[claimed].all(), name
        assert (shown >= floating)[claimed].all(), name
        assert (printed[name].approximation >= approximation)[claimed].all(), name
        allowed = (1 + WIDER_OF.get(key, WIDER)) * high + OF_THE_STATE * size
        assert (shown <= allowed)[claimed].all(), (name, float((shown / high)[claimed].max()))


@pytest.mark.slow
def test_a_bound_that_is_not_rounded_up_says_so() -> None:
    theorem = THEOREMS["spectral"]
    sizes = theorem.sizes[0]
    weights = theorem.construct(sizes, 1)
    instance = drawn(
        theorem, next(iter(theorem.families)), sizes, 1, torch.float64, torch.Generator().manual_seed(3)
    )
    found = measure(theorem, weights, instance, torch.float64, evaluation="structured", printed=True)
    assert found.evaluated == "float64"
    assert {row.evaluated for row in found.largest()} == {"float64"}


def test_a_formula_that_cancels_is_below_its_value_in_floats_and_not_when_printed() -> None:
    x = torch.tensor([1e16, 1e300], dtype=torch.float64)

    def bound() -> torch.Tensor:
        return (x + 1 - x) + x.log().exp() / x

    floats = bound()
    printed, evaluated = rounded_up(bound)
    assert evaluated == "rounded up"
    assert floats[0] < 1.5
    assert (printed >= 2).all()


def test_an_undecided_formula_is_float64s() -> None:
    x = torch.tensor(2.0, dtype=torch.float64)

    def bound() -> torch.Tensor:
        return torch.where(x.sqrt().square() > x, x, -x)

    printed, evaluated = rounded_up(bound)
    assert evaluated == "float64"
    assert torch.equal(printed, bound())


def test_a_sum_is_rounded_up_where_it_is_rounded() -> None:
    a, b = (
        torch.tensor([1.0, 1.0, 0.1, 0.0, torch.inf]).double(),
        torch.tensor([2.0**-60, 2.0, 0.2, 0.0, 1.0]).double(),
    )
    found = sum_above(a, b)
    assert found[0] == 1 + 2.0**-52
    assert found[1] == 3
    assert found[3] == 0
    assert found[4] == torch.inf
    with ball_arithmetic(BITS):
        assert (found[:3] >= ball_low(sum_above(a, b))[:3]).all()
        assert not bool(sum_above(number(1.0), number(2.0**-60)) >= 1 + 2.0**-52)
