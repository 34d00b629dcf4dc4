"""Radii of what linear pairs compute: kept by their softmax form and by every change within radii."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from constructions import Construction, Layer, Stream, apply, chords, clear, move, place, uniform
from constructions.language import curves
from constructions.language.gates import apply_where
from constructions.language.mlp import copy
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.matrices import products
from constructions.matrices.inverse import inverse_construction
from constructions.matrices.machine import matrix_tokens
from constructions.matrices.pair_path import Held, mlp_radii, pairs_radius
from constructions.matrices.softmax_form import softmax_form, with_sink
from constructions.tensor_power.softmax_bounds import Heads

HEADS = Heads(0.05, 4, 48.0)
N = 3
S = Stream(ids=N, A=N, B=N, C=N, D=N, gate=1, one_gate=1)
FLOATS = FloatArithmetic(torch.float64, "cpu")


def reach_of_four(_: object) -> float:
    return 4.0


def held_by(tokens: Tokens, radii: dict) -> Held:
    each = tokens.places.each
    counts = tokens.places.mask.to(torch.int64)
    return Held(tokens, each, counts, radii)


def test_newton_s_inverse_stays_within_and_radii_shrink(spd: Callable[..., Tensor]) -> None:
    """All layers of Newton's inverse, dense; a radius is no 4^t times the first.

    Through entries alone a step takes r to 4 r: 4^11 = 4e6 at the end of 11 steps.
    """
    A = spd(6, N, 0.5, 4.0)
    inverse = inverse_construction(N, 0.5, 4.0, 11)
    form = softmax_form(inverse.construction, HEADS, reach=reach_of_four)
    tokens = inverse.tokens(A)
    state = StructuredEvaluator(inverse.construction, FLOATS)
    now, dense = state.start(tokens), DenseEvaluator(form.to_transformer())
    softmax = list(dense.states(dense.start(with_sink(form.stream, tokens))))
    radii, X, least = {}, inverse.stream.X, float("inf")
    for place_, number in enumerate(inverse.construction.sequence):
        layer = inverse.construction.layers[number]
        before = held_by(now, radii)
        radii = radii | {part.write: pairs_radius(part, before, HEADS, reach_of_four) for part in layer.heads}
        attended = state.layers[number].attend(now)
        radii = mlp_radii(layer, held_by(attended, radii))
        now = state.layers[number].feed(attended)
        off = (softmax[place_].read(X)[:, 1:] - now.read(X)).abs()
        assert bool((off <= radii[X]).all())
        least = min(least, float(radii[X].max()))
    assert float(radii[X].max()) <= 1e-9
    assert float(radii[X].max()) < 100 * least


def drawn(count: int, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {b: torch.rand(count, N, N, generator=g, dtype=torch.float64) * 2 - 1 for b in "AB"}


def state_of(blocks: dict[str, Tensor], gate: float = 1.0) -> Tokens:
    count = len(blocks["A"])
    eye = torch.eye(N, dtype=torch.float64).expand(count, N, N)
    gates = torch.full((count, N, 1), gate, dtype=torch.float64)
    held = {S.ids: eye, S.A: blocks["A"], S.B: blocks["B"], S.gate: gates, S.one_gate: gates.round()}
    return matrix_tokens(S, held)


def within(tokens: Tokens, radii: dict, seed: int) -> Tokens:
    """The same tokens, each number moved to an end of its radius or between."""
    g = torch.Generator().manual_seed(seed)
    values = dict(tokens.values)
    for block, radius in radii.items():
        signs = torch.randint(-2, 3, radius.shape, generator=g).double() / 2
        values[block] = type(values[block])(
            values[block].partition, values[block].numbers + (signs * radius).mT
        )
    return Tokens(tokens.stream, tokens.places, values)


PARTS = {
    "C": (products.times(S.A, S.ids, S.B, S.C), products.triple(S.A, S.B, S.A, S.D, -0.5)),
    "sum": (
        products.total(products.scaled(S.ids, S.A, S.C, 2.0), products.triple(S.A, S.B, S.A, S.C, -1.0)),
    ),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("size", [1e-6, 0.3])
def test_products_of_what_moves_within_radii(name: str, size: float) -> None:
    """The pairs themselves at moved numbers; second-order terms matter at 0.3."""
    layer = Layer("trial", PARTS[name])
    inputs = (S.ids, S.A, S.B, S.gate, S.one_gate)
    run = StructuredEvaluator(Construction("trial", "a test", S, inputs, (layer,)), FLOATS)
    tokens = state_of(drawn(8, seed=1))
    g = torch.Generator().manual_seed(2)
    radii = {b: size * torch.rand(8, N, N, generator=g, dtype=torch.float64) for b in (S.A, S.B)}
    before = held_by(tokens, radii)
    middle = run.layers[0].attend(tokens)
    for part in layer.heads:
        radius = pairs_radius(part, before, HEADS, reach_of_four)
        for seed in range(20):
            moved = run.layers[0].attend(within(tokens, radii, seed))
            off = (moved.read(part.write) - middle.read(part.write)).abs()
            assert bool((off <= radius).all())
        tight = pairs_radius(part, held_by(tokens, {}), HEADS, reach_of_four)
        assert float(tight.max()) < 1e-9  # what is left without radii: the softmax form and rounding
        assert float(radius.max()) < 40 * size


CURVE = chords(curves.square, uniform(0.0, 2.0, 5), anchor=0, inputs=(0.0, 4.0))
MLPS = {
    "function": (apply(CURVE, S.A, S.C, -2.0),),
    "carried": (clear(S.A), move(S.B, S.A, 3.0)),
    "copied": (copy(S.A, S.C),),
    "placed": (place(S.A, by=S.gate, write=S.C, bound=2.0),),
    "where": (apply_where(CURVE, S.A, S.one_gate, S.C),),
}


@pytest.mark.parametrize("gate", [1.0, 0.0])
@pytest.mark.parametrize("name", MLPS)
def test_mlps_of_what_moves_within_radii(name: str, gate: float) -> None:
    layer = Layer("trial", (), MLPS[name])
    inputs = (S.ids, S.A, S.B, S.gate, S.one_gate)
    other = Layer("other", (products.scaled(S.ids, S.ids, S.D),))
    construction = Construction("trial", "a test", S, inputs, (layer, other))
    run = StructuredEvaluator(construction, FLOATS)
    tokens = state_of(drawn(8, seed=3), gate)
    radii = {b: torch.full((8, N, N), 0.2, dtype=torch.float64) for b in (S.A, S.B)}
    radii[S.gate] = torch.full((8, N, 1), 0.1, dtype=torch.float64)
    after = mlp_radii(layer, held_by(tokens, radii))
    middle = run.layers[0].feed(tokens)
    written = [block for part in layer.mlp for block in part.writes]
    for seed in range(20):
        moved = within(tokens, radii, seed)
        for block in written:
            off = (run.layers[0].feed(moved).read(block) - middle.read(block)).abs()
            assert bool((off <= after[block]).all())
            assert float(after[block].max()) < 2.0
    if "clear" in name or name == "carried":
        assert S.B not in after


def test_a_gate_that_a_radius_opens_is_seen() -> None:
    """Shut, with entries up to 1, bound 1 and a gate off by 0.1: 0.1 can pass."""
    layer = Layer("trial", (), (place(S.A, by=S.gate, write=S.C, bound=1.0),))
    tokens = state_of({"A": torch.ones(1, N, N).double(), "B": torch.zeros(1, N, N).double()}, 0.0)
    radii = {S.gate: torch.full((1, N, 1), 0.1, dtype=torch.float64)}
    radius = mlp_radii(layer, held_by(tokens, radii))[S.C]
    assert bool(((radius >= 0.1) & (radius <= 0.21)).all())


def test_what_has_no_radius_is_refused() -> None:
    tokens = state_of(drawn(1, seed=1), 0.5)
    radii = {S.A: torch.zeros(1, N, N).double()}
    bent = chords(curves.square, uniform(-1.0, 1.0, 4), anchor=2)
    with pytest.raises(ValueError, match=r"square~4 on \[-1, 1\] is not monotone"):
        mlp_radii(Layer("trial", (), (apply(bent, S.A, S.C),)), held_by(tokens, radii))
    with pytest.raises(
        ValueError, match=r"has no radius: linear parts, gates and functions of one number have"
    ):
        mlp_radii(Layer("trial", (), (apply(CURVE, S.A, S.C, minus=S.B),)), held_by(tokens, radii))
    where = Layer("trial", (), (apply_where(CURVE, S.A, S.gate, S.C),))
    with pytest.raises(ValueError, match=r"has a gate that is not an exact 0 or 1"):
        mlp_radii(where, held_by(tokens, radii))
    other = tokens.places.same
    with pytest.raises(ValueError, match=r"A\[3:6\] is not held by the classes: 'each'"):
        Held(tokens, other, torch.ones(1, 1).long(), {}).middle(S.A)
