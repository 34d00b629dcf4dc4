"""What the tensor power constructions refuse: one line naming the value, and they go on working after it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tensor_power_instances import FORMS, form, instances, normal, unit

from constructions import HypothesisError, softmax_tensor_power_construction, tensor_power_construction
from constructions.tensor_power.tensors import gather_tensors

T3, V3 = (part[0] for part in instances("orthogonal", 1, 3, seed=0))
NAN, INF = math.nan, math.inf


def one_line(error: Exception) -> str:
    message = str(error)
    assert "\n" not in message
    assert len(message) < 250
    return message


# --- what a construction is built from --------------------------------------------------------------------

RELU_ARGUMENTS = {
    "max_dim 0": ({"max_dim": 0}, "max_dim is 0; a whole number, at least 1"),
    "max_dim 2.0": ({"max_dim": 2.0}, "max_dim is 2.0; a whole number"),
    "max_dim a bool": ({"max_dim": True}, "max_dim is True; a whole number"),
    "steps 0": ({"steps": 0}, "steps is 0; a whole number, at least 1"),
    "steps a bool": ({"steps": False}, "steps is False; a whole number"),
    "steps 1.5": ({"steps": 1.5}, "steps is 1.5; a whole number"),
    "steps a word": ({"steps": "two"}, "steps is 'two'; a whole number"),
    "an unknown norm": ({"normalise": "l2"}, "normalise is 'l2'; it is none, rms or piecewise"),
    "no norm": ({"normalise": None}, "normalise is None; it is none, rms or piecewise"),
    "offset 0": ({"offset": 0.0}, "offset is 0.0; it is positive and finite, or None"),
    "offset below 0": ({"offset": -1.0}, "offset is -1.0; it is positive"),
    "offset infinite": ({"offset": INF}, "offset is inf; it is positive and finite"),
    "offset not a number": ({"offset": NAN}, "offset is nan; it is positive and finite"),
    "offset with the piecewise norm": (
        {"offset": 2.0, "normalise": "piecewise"},
        "offset is 2.0; the piecewise norm takes pairs of heads",
    ),
    "range empty": ({"norm_range": (1.0, 1.0)}, r"norm_range is \(1.0, 1.0\); 0 < low < high"),
    "range from 0": ({"norm_range": (0.0, 1.0)}, r"norm_range is \(0.0, 1.0\); 0 < low < high"),
    "range upside down": ({"norm_range": (2.0, 1.0)}, r"norm_range is \(2.0, 1.0\); 0 < low < high"),
    "range infinite": ({"norm_range": (1.0, INF)}, r"norm_range is \(1.0, inf\); 0 < low < high"),
    "range not a number": ({"norm_range": (NAN, 1.0)}, r"norm_range is \(nan, 1.0\); 0 < low < high"),
    "no pieces": ({"normalise": "piecewise", "pieces": 0}, "pieces is 0; it is a whole number, at least 1"),
    "half a piece": ({"normalise": "piecewise", "pieces": 1.5}, "pieces is 1.5; it is a whole number"),
}


@pytest.mark.parametrize(("wrong", "message"), RELU_ARGUMENTS.values(), ids=RELU_ARGUMENTS.keys())
def test_relu_constructions_are_not_built_from(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tensor_power_construction(**({"max_dim": 3, "steps": 1} | wrong))  # type: ignore[arg-type]
    one_line(caught.value)


SOFTMAX_ARGUMENTS = {
    "max_dim 0": ({"max_dim": 0}, "max_dim is 0; a whole number, at least 1"),
    "steps a bool": ({"steps": True}, "steps is True; a whole number"),
    "steps 2.0": ({"steps": 2.0}, "steps is 2.0; a whole number"),
    "epsilon 0": ({"epsilon": 0.0}, r"epsilon is 0.0; it lies in \(0, 1\]"),
    "epsilon below 0": ({"epsilon": -0.1}, r"epsilon is -0.1; it lies in \(0, 1\]"),
    "epsilon above 1": ({"epsilon": 1.1}, r"epsilon is 1.1; it lies in \(0, 1\]"),
    "epsilon not a number": ({"epsilon": NAN}, r"epsilon is nan; it lies in \(0, 1\]"),
    "no pairs": ({"pairs": 0}, "pairs is 0; it is a whole number from 1 to 8"),
    "nine pairs": ({"pairs": 9}, "pairs is 9; it is a whole number from 1 to 8"),
    "pairs a bool": ({"pairs": True}, "pairs is True; it is a whole number from 1 to 8"),
    "pairs 2.0": ({"pairs": 2.0}, "pairs is 2.0; it is a whole number from 1 to 8"),
    "sink below 0": ({"sink": -1.0}, "sink is -1.0; it lies between 0 and 300"),
    "sink above 300": ({"sink": 301.0}, "sink is 301.0; it lies between 0 and 300"),
    "sink not a number": ({"sink": NAN}, "sink is nan; it lies between 0 and 300"),
    "the piecewise norm": ({"normalise": "piecewise"}, "normalise is 'piecewise'; it is none or rms"),
    "no bound without a norm": ({"normalise": "none"}, "bound is needed without a norm"),
    "bound 0": ({"bound": 0.0}, "bound is 0.0; it is positive and finite"),
    "bound below 0": ({"bound": -2.0}, "bound is -2.0; it is positive and finite"),
    "bound infinite": ({"bound": INF}, "bound is inf; it is positive and finite"),
    "bound not a number": ({"bound": NAN}, "bound is nan; it is positive and finite"),
}


@pytest.mark.parametrize(("wrong", "message"), SOFTMAX_ARGUMENTS.values(), ids=SOFTMAX_ARGUMENTS.keys())
def test_softmax_constructions_are_not_built_from(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        softmax_tensor_power_construction(**({"max_dim": 3, "steps": 1, "epsilon": 0.1} | wrong))  # type: ignore[arg-type]
    one_line(caught.value)


# --- tensors and starts -----------------------------------------------------------------------------------


def changed(values: torch.Tensor, value: float) -> torch.Tensor:
    values = values.clone()
    values.view(-1)[1] = value
    return values


REFUSED: dict[str, tuple[object, object, str]] = {
    "a tensor that is not cubic": (normal(3, 3, 2, seed=0), V3, r"shape \(3, 3, 2\); it must be cubic"),
    "a matrix in a list": ([normal(3, 3, seed=0)], [V3], r"shape \(3, 3\); it must be cubic"),
    "a batch of matrices": (
        normal(2, 3, 3, 2, seed=0),
        normal(2, 3, seed=1),
        r"\(3, 3, 2\); it must be cubic",
    ),
    "NaN in T": (changed(T3, NAN), V3, "T holds nan in torch.float64; every value must be finite"),
    "inf in T": (changed(T3, INF), V3, "T holds inf in torch.float64"),
    "minus inf in v": (T3, changed(V3, -INF), "v holds -inf in torch.float64"),
    "NaN in v": (T3, changed(V3, NAN), "v holds nan in torch.float64"),
    "d above d0": (
        normal(7, 7, 7, seed=0),
        normal(7, seed=1),
        "d = 7; this construction takes 1 <= d <= d0 = 6",
    ),
    "no coordinates": (torch.zeros(0, 0, 0), torch.zeros(0), "a tensor has d = 0; this construction takes 1"),
    "a zero start": (T3, 0 * V3, "start 0 is the zero vector in torch.float64; a start is not 0"),
    "the second start is zero": (
        torch.stack([T3, T3]),
        torch.stack([V3, 0 * V3]),
        "start 1 is the zero vector",
    ),
    "a start of the wrong length": (T3, V3[:2], r"a start has shape \(2,\); its tensor needs \(3,\)"),
    "a start with a batch dimension": (T3, V3[None], r"a start has shape \(1, 3\); its tensor needs \(3,\)"),
    "a scalar start": ([T3], [torch.tensor(1.0)], r"a start has shape \(\); its tensor needs \(3,\)"),
    "two tensors and one start": ([T3, T3], [V3], "got 2 tensors and 1 starts; need one start each"),
    "no tensors": ([], [], "got 0 tensors and 0 starts"),
    "mixed sizes, a start swapped": ([T3, T3[:2, :2, :2]], [V3[:2], V3], r"a start has shape \(2,\)"),
    "words": ("ab", "cd", "tensors and starts are arrays, or lists of them; got str"),
    "nothing": (None, None, "tensors and starts are arrays, or lists of them; got NoneType"),
    "arrays of objects": (
        np.array([[[None]]], dtype=object),
        np.ones(1),
        "tensors and starts are arrays",
    ),
}


@pytest.mark.parametrize("name", ["pairs", "softmax, rms"])
@pytest.mark.parametrize(("T", "v", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_no_run_is_made_of(name: str, T: object, v: object, message: str) -> None:
    power = form(name)
    with pytest.raises(HypothesisError, match=message) as caught:
        power.run(T, v)  # type: ignore[arg-type]
    one_line(caught.value)


def test_what_float32_cannot_hold_is_refused_there_alone() -> None:
    for name in ("pairs", "pairs, rms"):
        with pytest.raises(HypothesisError, match=r"start 0 is the zero vector in torch.float32"):
            form(name).run(T3, 1e-60 * V3, dtype=torch.float32)
        with pytest.raises(HypothesisError, match=r"T holds -?inf in torch.float32"):
            form(name).run(1e60 * T3, V3, dtype=torch.float32)
    assert form("pairs").run(1e60 * T3, 1e-30 * V3).steps == 1


@pytest.mark.parametrize("steps", [0, -1, True, 1.0, "1"])
def test_steps_are_a_whole_number(steps: object) -> None:
    for name in ("pairs", "softmax"):
        with pytest.raises(ValueError, match=rf"steps is {steps!r}; a whole number, at least 1, is needed"):
            form(name).run(T3, V3, steps=steps)  # type: ignore[arg-type]


def test_arrays_tensors_and_lists_of_either_are_taken() -> None:
    power = form("pairs")
    expected = power.run(T3, V3).path
    for T, v in (
        (T3.numpy(), V3.numpy()),
        (T3, V3.numpy()),
        (T3[None].numpy(), [V3]),
        ([T3.numpy()], V3[None]),
        ([T3.tolist()], [V3.tolist()]),
    ):
        path = power.run(T, v).path
        # Numbers that pass through Python floats in a list arrive in torch's default dtype, float32.
        listed = isinstance(T, list) and isinstance(T[0], list)
        assert torch.equal(path.reshape(expected.shape).float(), expected.float()) or listed
    integers = power.run(torch.ones(2, 2, 2, dtype=torch.int64), torch.tensor([1, 2]))
    assert integers.v.tolist() == [9, 9]


def test_a_run_does_not_share_memory_with_what_it_was_given() -> None:
    T, v = T3.clone(), V3.clone()
    run = form("pairs").run(T, v)
    run.path.zero_()
    assert torch.equal(v, V3)
    assert torch.equal(T, T3)
    batch = gather_tensors(T, v, 6, torch.float64, "cpu")
    batch.T.zero_()
    assert torch.equal(T, T3)


# --- on the way -------------------------------------------------------------------------------------------


def skew(d: int) -> torch.Tensor:
    """T(I, v, v) = 0 exactly, whatever v is: T_i12 = 1, T_i21 = -1."""
    T = torch.zeros(d, d, d, dtype=torch.float64)
    T[:, 0, 1], T[:, 1, 0] = 1, -1
    return T


ON_THE_WAY: dict[str, tuple[Callable[[], object], str]] = {
    "an offset too small": (
        lambda: tensor_power_construction(3, 2, offset=0.1).run(T3, V3),
        r"step 1 of tensor 0: \|v_m s_j\| reaches 0\.\d+; the offset is 0.1, and must be at least that",
    ),
    "an offset too small in a later step": (
        lambda: tensor_power_construction(3, 3, offset=1.0).run(4 * T3, V3),
        r"step 2 of tensor 0: \|v_m s_j\| reaches .*; the offset is 1, and",
    ),
    "an offset too small for the second tensor": (
        lambda: tensor_power_construction(3, 1, offset=1.0).run([T3, T3], [V3, 3 * V3]),
        r"step 1 of tensor 1: \|v_m s_j\| reaches",
    ),
    "an offset too small for a mean": (
        lambda: tensor_power_construction(3, 1, offset=0.5, divide_by_tokens=True).run(
            T3, unit(torch.ones(3).double())
        ),
        r"step 1 of tensor 0: \|v_m s_j\| reaches 1; the offset is 0.5",
    ),
    "a norm above the range": (
        lambda: tensor_power_construction(3, 1, normalise="piecewise").run(1e4 * T3, V3),
        r"step 1 of tensor 0: \|T\(I, v, v\)\| is \d+.*; the piecewise norm covers 0.0001 to 100",
    ),
    "a norm below the range": (
        lambda: tensor_power_construction(3, 1, normalise="piecewise").run(1e-6 * T3, V3),
        r"\|T\(I, v, v\)\| is .*e-0\d; the piecewise norm covers 0.0001 to 100",
    ),
    "a bound too small for the start": (
        lambda: form("softmax, rms").run(T3, 3 * unit(torch.ones(3).double()) * 3**0.5),
        r"step 1 starts with \|v_k\| = 3 in tensor 0; the bound is 2",
    ),
    "a bound too small for a step": (
        lambda: form("softmax").run(1e5 * T3, V3),
        r"step 1 ends with \|v_k\| = \d+.* in tensor 0; the bound is 1024",
    ),
    "an overflow": (
        lambda: form("pairs").run(1e200 * T3, V3, steps=3),
        r"step 2 of tensor 0: v overflows in torch.float64; .* take fewer than 2 steps, scale T, or",
    ),
    "an underflow": (
        lambda: form("pairs").run(1e-200 * T3, V3, steps=3),
        r"step 2 of tensor 0: v is .*0.* in torch.float64; .* take fewer than 2 steps, scale T, or normalise",
    ),
    "an overflow in float32": (
        lambda: form("pairs").run(1e20 * T3, V3, steps=3, dtype=torch.float32),
        r"step 2 of tensor 0: v overflows in torch.float32",
    ),
    "a tensor whose squares overflow in the norm": (
        lambda: form("pairs, rms").run(1e160 * T3, V3),
        r"step 1 of tensor 0: T\(I, v, v\) is not 0, but leaves the range of torch.float64 .*: scale T",
    ),
    "a start whose products round to 0 beside it": (
        lambda: softmax_tensor_power_construction(1, 2, 1e-8, bound=1e4).run(
            torch.ones(1, 1, 1), torch.tensor([1e4]), dtype=torch.float32
        ),
        r"step 2 of tensor 0: T\(I, v, v\) is not 0, but .* torch.float32 .* or the start to 1",
    ),
    "T(I, v, v) = 0, normalised": (
        lambda: form("pairs, rms").run(skew(3), V3),
        r"step 1 of tensor 0: T\(I, v, v\) is 0: it has no direction",
    ),
    "T(I, v, v) = 0 of the second tensor": (
        lambda: form("mean, rms").run([T3, skew(2)], [V3, V3[:2]]),
        r"step 1 of tensor 1: T\(I, v, v\) is 0: it has no direction",
    ),
    "T = 0": (
        lambda: form("softmax, rms").run(0 * T3, V3),
        r"step 1 of tensor 0: T\(I, v, v\) is 0: it has no direction",
    ),
    "T = 0 with the piecewise norm": (
        lambda: form("piecewise").run(0 * T3, V3),
        r"step 1 of tensor 0: \|T\(I, v, v\)\| is 0; the piecewise norm covers",
    ),
    "a sink too high for float32": (
        lambda: softmax_tensor_power_construction(3, 1, 1.0, sink=88.0).run(T3, V3, dtype=torch.float32),
        "sink 88 with epsilon 1 leaves the range of torch.float32; at most 87.34 is possible",
    ),
}


@pytest.mark.parametrize(("run", "message"), ON_THE_WAY.values(), ids=ON_THE_WAY.keys())
def test_a_run_stops_at_the_step_that_leaves_the_theorem(run: Callable[[], object], message: str) -> None:
    with pytest.raises(HypothesisError, match=message) as caught:
        run()
    one_line(caught.value)


@pytest.mark.parametrize("name", FORMS)
def test_a_refused_run_leaves_the_construction_as_it_was(name: str) -> None:
    power = form(name)
    before = power.run(T3, V3, evaluation="dense")
    kept = power._compiled["dense", torch.float64, "cpu"].transformer.state_dict()
    weights = {k: p.clone() for k, p in kept.items()}
    refused = 0
    for T, v in ((changed(T3, NAN), V3), (T3, 0 * V3), (skew(3), V3), (1e200 * T3, V3), (T3, 1e3 * V3)):
        try:
            power.run(T, v, evaluation="dense")
        except HypothesisError:
            refused += 1
    # NaN and the zero start in every form; the others where there is a norm, an offset or a bound.
    assert refused >= 2 + (name not in ("pairs", "mean"))
    after = power.run(T3, V3, evaluation="dense")
    assert torch.equal(after.path, before.path)
    for k, p in kept.items():
        assert torch.equal(p, weights[k])


@pytest.mark.parametrize("name", FORMS)
def test_a_construction_cannot_be_changed(name: str) -> None:
    power = form(name)
    for field in ("construction", "max_dim", "normalised"):
        with pytest.raises(AttributeError):
            setattr(power, field, None)
