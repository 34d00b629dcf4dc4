"""Distances in balls are those of exact rationals, and a planted rounding shows."""

import itertools
from fractions import Fraction

import pytest
import torch

from constructions.language.rational import ExactTransformer
from verify.certify.network.interpreter import interpreter
from verify.certify.network.reading import read_weights
from verify.certify.precision.distances import Off, off
from verify.certify.precision.running import read_in, run_layers
from verify.registry import THEOREMS

STEPS, SIZES = 2, {"d": 2, "n": 4, "d0": 2}
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def drawn(key: str, sizes, family: int = 0):
    theorem = THEOREMS[key]
    name = list(theorem.families)[family]
    weights = theorem.construct(sizes, STEPS, theorem.accuracies[-1])
    return theorem, weights, theorem.families[name](sizes, 1, torch.Generator().manual_seed(3))


def measured(key: str, sizes, dtype: torch.dtype, plant=None) -> tuple[Off, Off]:
    """Of the layers as compiled, and, as ``plant`` changed them, of these; both against what was compiled."""
    theorem, weights, instance = drawn(key, sizes)
    read = read_in(theorem, weights, instance, dtype)
    transformer = weights.to_transformer(dtype)
    network = interpreter(read_weights(transformer))
    runs = {"own": run_layers(transformer, read).stream}
    if plant is not None:
        plant(transformer)
    runs["planted"] = run_layers(transformer, read).stream
    held = {name: theorem.decode(weights, read.instance, stream) for name, stream in runs.items()}
    found = off(theorem, weights, network, read, STEPS, held)
    assert found is not None
    return found["own"], found["planted"]


def descent(instance) -> list[list[Fraction]]:
    """The path of gradient descent in fractions."""
    X, y = (exact(part[0]) for part in (instance.X, instance.y[..., None]))
    path = exact(instance.start)
    rate, n = Fraction(instance.rate[0].item()), len(X)
    for _ in range(STEPS):
        w = path[-1]
        left = [t[0] - sum(a * b for a, b in zip(x, w, strict=True)) for x, t in zip(X, y, strict=True)]
        moved = [rate / n * sum(r * x[j] for r, x in zip(left, X, strict=True)) for j in range(len(w))]
        path.append([a + b for a, b in zip(w, moved, strict=True)])
    return path


def exact(rows: torch.Tensor) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in rows.double().tolist()]


def square(v: list[Fraction]) -> Fraction:
    return sum((x * x for x in v), Fraction(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_least_squares_is_that_of_exact_rationals(dtype: torch.dtype) -> None:
    theorem, weights, instance = drawn("least-squares", SIZES)
    instance.start.mul_(8)  # the start is the longest state of the path
    read = read_in(theorem, weights, instance, dtype)
    transformer = weights.to_transformer(dtype)
    after = ExactTransformer(transformer)(exact(read.tokens[0]), read.mask[0].tolist())
    numbers = torch.arange(read.tokens.numel()).reshape(read.tokens.shape)
    places = theorem.decode(weights, read.instance, numbers)["w"].flatten().tolist()
    layers = [after[place // len(after[0])][place % len(after[0])] for place in places]
    held = theorem.decode(weights, read.instance, run_layers(transformer, read).stream)
    [run] = exact(held["w"][0])
    network = interpreter(read_weights(transformer))
    found = off(theorem, weights, network, read, STEPS, {"run": held})
    assert found is not None
    path = descent(read.instance)
    scale = square(path[0])
    assert scale > max(map(square, path[1:]))
    for end, one, other in (
        (found["run"].error, run, path[-1]),
        (found["run"].weights, layers, path[-1]),
        (found["run"].rounding, run, layers),
    ):
        assert end is not None
        wanted = square([a - b for a, b in zip(one, other, strict=True)]) / scale
        assert Fraction(end) ** 2 >= wanted
        assert Fraction(end * (1 - 2**-50)) ** 2 <= wanted


@pytest.mark.parametrize("key", ["softmax-tensor-power", "tensor-power"])
def test_a_coarser_dtype_rounds_more(key: str) -> None:
    sizes = THEOREMS[key].sizes[2]
    ours = [measured(key, sizes, dtype)[0] for dtype in DTYPES]
    for fine, coarse in itertools.pairwise(ours):
        assert fine.rounding is not None
        assert coarse.rounding is not None
        assert coarse.error > 100 * fine.error
        assert coarse.rounding > 100 * fine.rounding


def test_the_error_is_at_most_rounding_and_weights() -> None:
    for key in ("least-squares", "mirror-descent", "pca"):
        for dtype in DTYPES:
            one, _ = measured(key, THEOREMS[key].sizes[0], dtype)
            assert one.rounding is not None
            assert one.weights is not None
            assert one.error <= (one.rounding + one.weights) * (1 + 2**-40)


def test_a_weight_rounded_to_bfloat16_shows() -> None:
    def plant(transformer) -> None:
        with torch.no_grad():
            weight = transformer.layers[0].attention.output.view(-1)
            place = (weight - weight.bfloat16()).abs().argmax()
            assert weight[place] != weight[place].bfloat16()
            weight[place] = weight[place].bfloat16()

    own, planted = measured(
        "softmax-tensor-power", THEOREMS["softmax-tensor-power"].sizes[0], torch.float64, plant
    )
    assert own.rounding is not None
    assert planted.rounding is not None
    assert own.rounding < 1e-11
    assert planted.rounding > 1e6 * own.rounding
    assert planted.weights == own.weights


def test_layers_that_are_not_evaluated_leave_the_error_alone() -> None:
    theorem, weights, instance = drawn("pca", THEOREMS["pca"].sizes[0])
    read = read_in(theorem, weights, instance, torch.float64)
    held = theorem.decode(weights, read.instance, run_layers(weights.to_transformer(), read).stream)
    found = off(theorem, weights, None, read, STEPS, {"run": held})
    assert found is not None
    assert found["run"].rounding is found["run"].weights is None
    assert 0 < found["run"].error < 1e-13


def test_what_is_not_defined_has_no_distance() -> None:
    theorem, weights, instance = drawn("pca", THEOREMS["pca"].sizes[0])
    instance.X.zero_()
    read = read_in(theorem, weights, instance, torch.float64)
    held = {"axes": torch.zeros(1, 2, 3, dtype=torch.float64)}
    assert off(theorem, weights, None, read, STEPS, {"run": held}) is None
