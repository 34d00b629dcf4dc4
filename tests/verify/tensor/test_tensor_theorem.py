"""Theorem 2, in ReLU and in softmax, as objects of the protocol: the conformance suite, parts, searches."""

import pytest
import torch
from tensor_commands import missing_negative_head, wrong_alpha, wrong_slice

from verify.engine.conformance import Case, conformance
from verify.engine.search import search
from verify.registry import THEOREMS
from verify.tensor.theorem import RELU, RELU_OFFSET, RELU_PIECEWISE, RELU_PLAIN, SOFTMAX

F64, F32 = torch.float64, torch.float32

TestRelu = conformance(RELU)
TestSoftmax = conformance(SOFTMAX)


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
    parts = {}
    for dtype in (F64, F32):
        case = Case.of(theorem, dtype)
        found = case.measured()
        run = case.weights.run(case.instance.T, case.instance.v, dtype=dtype, steps=2)
        whole = case.weights.error_bounds(case.instance.T, case.instance.v, run, dtype).error[:, 1:, None]
        bound = found.bound["v"]
        assert (bound.rounding >= 0).all()
        assert (bound.total > whole).all()  # and the rounding of the reference
        assert torch.allclose(bound.total, whole, rtol=1e-9) or dtype == F64
        parts[dtype] = bound
    exact = theorem not in (RELU_PIECEWISE, SOFTMAX)
    assert bool((parts[F64].approximation == 0).all()) == exact
    assert torch.allclose(parts[F64].approximation[:, 0], parts[F32].approximation[:, 0], rtol=1e-4)
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
