"""The bounds of every theorem in ball arithmetic: finite where those of float64 are, and the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from constructions.language.hypotheses import HypothesisError
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import upper_ends
from verify.engine.measure import drawn
from verify.registry import THEOREMS

BITS = 128
DTYPES = (torch.float64, torch.float32)
U64 = 2.0**-53

KEYS = [
    "least-squares",
    "ridge",
    "pca",
    "kmeans",
    "mirror-descent",
    "tensor-power",
    "softmax-tensor-power",
    "em",
    "em-tied-spherical",
    "em-spherical",
    "em-diagonal",
    "em-tied",
    "em-full",
    "spectral",
    "spectral-squares",
    "spectral-variance",
]

RELATIVE = 2.0**-20
"""A spectral norm in balls is 2^-26 log n wide beside its value, and a bound multiplies a few of them; in
softmax tensor power one of d^2 rounded scores may fall on the other side of a unit of 2^-47 where float64
forms the score, which moves the sum by less."""

RELATIVE_OF = {"pca": 2.0**-8}
"""What float64 rounds in the steps of PCA is a summand of the bound itself, and several times another one:
the two values differ by no more than a part of that."""

ABSOLUTE = 64 * U64
"""Beside that, float64 takes differences of numbers of the size of the state, each off by a few tens of
roundings: the weight that an interval of responsibilities allows less the exact one, ``|v|^2 - 1``."""


def cases() -> list[Any]:
    """(key, family, dtype): the cheap theorems in float64; of all the first family; the rest is slow."""
    found = []
    for key in KEYS:
        for place, family in enumerate(THEOREMS[key].families):
            for dtype in DTYPES:
                first = place == 0 and (dtype == torch.float64 or key in KEYS[:6])
                quick = first or (key in KEYS[:5] and dtype == torch.float64)
                marks = () if quick else pytest.mark.slow
                found.append(pytest.param(key, family, dtype, marks=marks, id=f"{key}-{family}-{dtype}"))
    return found


@pytest.mark.parametrize(("key", "family", "dtype"), cases())
def test_balls_are_finite_where_floats_are_and_hold_the_same(
    key: str, family: str, dtype: torch.dtype
) -> None:
    theorem = THEOREMS[key]
    sizes, accuracy = theorem.sizes[0], theorem.accuracies[0]
    steps = theorem.within(2)
    weights = theorem.construct(sizes, steps, accuracy)
    instance = drawn(theorem, family, sizes, 1, dtype, torch.Generator().manual_seed(3))
    try:
        states = theorem.run(weights, instance, dtype, steps=steps, evaluation="structured")
    except HypothesisError as refused:
        pytest.skip(str(refused))
    floats = theorem.bounds(weights, instance, states, dtype)
    with ball_arithmetic(BITS):
        balls = theorem.bounds(weights, instance, states, dtype)
        above = {name: upper_ends(bound.total) for name, bound in balls.items()}
    for name, bound in floats.items():
        claimed, size = bound.total.isfinite(), states[name].double().nan_to_num(0.0).abs().max()
        assert torch.equal(above[name].isfinite(), claimed), name
        off = (above[name] - bound.total).abs()[claimed]
        allowed = RELATIVE_OF.get(key, RELATIVE) * bound.total[claimed] + ABSOLUTE * size
        assert (off <= allowed).all(), (name, float((off / allowed).max()))
