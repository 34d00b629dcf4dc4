"""Theorem 2, in ReLU and in softmax, as objects of the protocol: the conformance suite, parts, searches."""

import dataclasses

import pytest
import torch
from crossed import crossed
from tensor_commands import missing_negative_head, wrong_alpha, wrong_slice

from baselines.robust_tensor_power import tensor_power_iteration
from constructions.language.rounding import gamma
from constructions.tensor_power.relu_bounds import reference_bound
from verify.engine.conformance import Case
from verify.engine.search import search
from verify.registry import THEOREMS
from verify.tensor.theorem import RELU, RELU_OFFSET, RELU_PIECEWISE, RELU_PLAIN, SOFTMAX

F64, F32 = torch.float64, torch.float32
U = 2.0**-53

TestRelu = crossed(RELU)
TestSoftmax = crossed(SOFTMAX)


def test_both_are_registered_under_their_keys():
    assert {THEOREMS[t.key] for t in (RELU, SOFTMAX)} == {RELU, SOFTMAX}


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("theorem", [RELU_PLAIN, RELU_OFFSET, RELU_PIECEWISE], ids=lambda t: t.key)
def test_the_other_forms_keep_their_bounds(theorem, dtype):
    found = search(theorem, 400, dtype, 1)
    assert found.broken == []
    assert found.claimed > 0.9 * found.steps
    assert found.refused == 0


@pytest.mark.parametrize(
    "theorem", [RELU, RELU_PLAIN, RELU_OFFSET, RELU_PIECEWISE, SOFTMAX], ids=lambda t: t.key
)
def test_the_parts_of_a_bound_are_apart(theorem):
    """Exact heads leave nothing in real arithmetic; chords and pairs leave the same in either dtype."""
    parts, given = {}, Case.of(theorem, F32)
    T, v = given.instance.T, given.instance.v
    for dtype in (F64, F32):
        case = dataclasses.replace(given, dtype=dtype)
        run = case.weights.run(T, v, dtype=dtype, steps=2, evaluation="dense")
        whole = case.weights.error_bounds(T, v, run, dtype).error[:, 1:, None]
        path = tensor_power_iteration(T, v, 2, theorem.normalised).path
        own = reference_bound(T, path, theorem.normalised).error[:, 1:, None]
        bound = case.measured().bound["v"]
        assert (bound.rounding >= 0).all()
        # approximation + ((whole - approximation) + own): three roundings, each of at most the sum's size.
        assert ((bound.total - whole - own).abs() <= gamma(4, U) * (whole + own)).all()
        assert (own > 0).all()
        parts[dtype] = bound
    exact = theorem not in (RELU_PIECEWISE, SOFTMAX)
    assert bool((parts[F64].approximation == 0).all()) == exact
    # The first step starts from the same numbers, and only rounding knows the dtype: the same operations.
    assert torch.equal(parts[F64].approximation[:, 0], parts[F32].approximation[:, 0])
    # The units roundoff are 5e8 apart; of the reference's own float64 rounding both have the same.
    assert (parts[F32].rounding > 1e4 * parts[F64].rounding).all()


@pytest.mark.parametrize("edit", [wrong_slice, missing_negative_head, wrong_alpha])
@pytest.mark.parametrize("theorem", [RELU_PLAIN, SOFTMAX], ids=lambda t: t.key)
def test_a_wrong_construction_is_found(theorem, edit):
    class Wrong(type(theorem)):
        def construct(self, sizes, steps, accuracy=None):
            built = super().construct(sizes, steps, accuracy)
            return edit(built) if sizes["d"] > 1 else built

    # The norm takes a common factor away: only a step without one tells it.
    assert bool(search(Wrong(), 200, F64, 0).broken) != (edit is wrong_alpha and theorem is SOFTMAX)


def test_every_tensor_and_start_is_a_family():
    assert len(RELU.families) == len(SOFTMAX.families) == 30
    drawn = RELU.families["skew tensor, long start"](RELU.sizes[2], 4, torch.Generator().manual_seed(0))
    assert drawn.v.norm(dim=1).tolist() == pytest.approx([3.0] * 4)
    sizes = drawn.T.abs().amax((1, 2, 3)).log10()
    assert float(sizes.max() - sizes.min()) > 1  # each task has a scale of its own
