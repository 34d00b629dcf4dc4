"""Wrong spectral constructions leave the bounds that the right ones keep, on the same tasks.

Each mutant is the construction with one mistake in a layer, in the plan, or in what the tokens hold. It runs
unchecked, and its bounds are those of the right weights.
"""

import dataclasses
import functools
from collections.abc import Callable

import pytest
from constructed_spectral import ESTIMATED, Expected, built, run, tasks, together, unchecked

from constructions.language.assembly import Layer
from constructions.language.heads import HeadSum, linear_pair
from constructions.language.mlp import MLPPart, clear, copy, move
from constructions.language.stream import Block, Stream
from constructions.language.structured.partitions import Tokens, Value
from constructions.matrices.inverse import newton_layer
from constructions.matrices.products import (
    scaled,
    score,
    times,
    times_transposed,
    total,
    transposed_times,
    triple,
)
from constructions.spectral.exact import Problem
from constructions.spectral.moments import correct_layer
from constructions.spectral.power import image_layer
from constructions.spectral.read_in import ReadTasks
from constructions.spectral.recovery import means_layer, weights_layer
from constructions.spectral.tasks import SpectralBatch
from constructions.spectral.weights import SpectralConstruction
from constructions.spectral.whitening import whiten_layer

OPTIONS = {"rounds": 4, "steps": 5, "condition": 30.0, "whitenings": 6}
VARIANTS = ("products", "squares", "products, estimated")


def right(variant: str) -> SpectralConstruction:
    return built(variant, **OPTIONS)


@functools.cache
def problem(variant: str) -> Problem:
    """Tasks of two kinds, one component lighter than the others in half of them."""
    return together(
        tasks(right(variant), "orthogonal means", 4, 3, 2, 24, seed=1),
        tasks(right(variant), "Gaussian means", 4, 3, 2, 24, seed=3),
    )


@functools.cache
def expected(variant: str) -> Expected:
    return Expected.of(right(variant), problem(variant))


def broken(variant: str, mutant: SpectralConstruction) -> list[str]:
    return expected(variant).beside(unchecked(mutant, problem(variant))).broken()


def with_layers(variant: str, change: Callable[[Stream, Layer], Layer]) -> SpectralConstruction:
    """Every layer put through ``change``."""
    weights = right(variant)
    layers = tuple(change(weights.stream, layer) for layer in weights.construction.layers)
    assert layers != weights.construction.layers
    return dataclasses.replace(weights, construction=dataclasses.replace(weights.construction, layers=layers))


def replaced(variant: str, name: str, change: Callable[[Stream, Layer], Layer]) -> SpectralConstruction:
    """The layer of that name put through ``change``."""
    return with_layers(variant, lambda s, layer: change(s, layer) if layer.name == name else layer)


def head(variant: str, name: str, index: int, make: Callable[[Stream], HeadSum]) -> SpectralConstruction:
    """One product of a layer instead of another that writes the same block."""

    def change(s: Stream, layer: Layer) -> Layer:
        new, old = make(s), layer.heads[index]
        assert new.write == old.write
        return dataclasses.replace(layer, heads=(*layer.heads[:index], new, *layer.heads[index + 1 :]))

    return replaced(variant, name, change)


def heads(variant: str, name: str, *makes: Callable[[Stream], HeadSum]) -> SpectralConstruction:
    """All products of a layer instead of others that write the same blocks."""

    def change(s: Stream, layer: Layer) -> Layer:
        new = tuple(make(s) for make in makes)
        assert [one.write for one in new] == [one.write for one in layer.heads]
        return dataclasses.replace(layer, heads=new)

    return replaced(variant, name, change)


def part(variant: str, name: str, index: int, make: Callable[[Stream], MLPPart]) -> SpectralConstruction:
    """One part of an MLP instead of another."""

    def change(s: Stream, layer: Layer) -> Layer:
        new, old = make(s), layer.mlp[index]
        assert (new.writes, new.clears) == (old.writes, old.clears)
        return dataclasses.replace(layer, mlp=(*layer.mlp[:index], new, *layer.mlp[index + 1 :]))

    return replaced(variant, name, change)


def with_tokens(variant: str, **changes: Callable[[Stream, Value], Value]) -> SpectralConstruction:
    """Blocks that the tokens hold put through ``changes``, by name."""

    class Edited(SpectralConstruction):
        def read_in(self, batch: SpectralBatch) -> ReadTasks:
            found = super().read_in(batch)
            read = found.tokens

            def edited() -> Tokens:
                held = read()
                values = dict(held.values)
                for name, change in changes.items():
                    block: Block = getattr(held.stream, name)
                    values[block] = change(held.stream, values[block])
                return Tokens(held.stream, held.places, values)

            found.tokens = edited
            return found

    weights = right(variant)
    return Edited(weights.construction, weights.plan, weights.square)


def scaled_by(factor: float) -> Callable[[Stream, Value], Value]:
    return lambda s, value: Value(value.partition, factor * value.numbers)


def rolled(s: Stream, value: Value) -> Value:
    """The first two entries change places."""
    numbers = value.numbers.clone()
    numbers[:, [0, 1]] = numbers[:, [1, 0]]
    return Value(value.partition, numbers)


def transposed_pairs(s: Stream, value: Value) -> Value:
    """(p, q) for (q, p): the place is K0 q + p among the halves, read as a K0 x d matrix instead."""
    d, K = s.x.width, s.row.width
    return Value(value.partition, value.numbers.unflatten(1, (d, K)).transpose(1, 2).flatten(1, 2))


def rebuilt(variant: str, **options: object) -> SpectralConstruction:
    return built(variant, **(OPTIONS | options))


MUTANTS: dict[str, tuple[str, Callable[[], SpectralConstruction]]] = {
    # --- ids
    "a row is corrected by the next row's id": (
        "products",
        lambda: head(
            "products",
            "correct",
            0,
            lambda s: total(times(s.next, s.row, s.Y, s.Z, 9 / 4), triple(s.Y, s.Y, s.Y, s.Z, -27 / 16)),
        ),
    ),
    "a row of W is taken by the next row's id": (
        "products",
        lambda: head(
            "products",
            "whiten, 1.5",
            0,
            lambda s: total(times(s.next, s.row, s.W, s.Z, 1.5), triple(s.P, s.W, s.W, s.Z, -0.5)),
        ),
    ),
    "y is placed by the next row's id": (
        "squares",
        lambda: head(
            "squares", "project", 0, lambda s: linear_pair(score(s.x, s.W) + score(s.mx, s.W), s.next, s.y)
        ),
    ),
    "v is placed by a wrong axis": ("products", lambda: with_tokens("products", axis=rolled)),
    "v_i is picked at another token's place": (
        "products",
        lambda: with_tokens("products", place=rolled),
    ),
    "coordinates have ids of each other in the noise": (
        "products",
        lambda: with_tokens("products", first=rolled),
    ),
    # --- transposes
    "halves are asked without the transpose": (
        "products",
        lambda: with_tokens("products", turned=transposed_pairs),
    ),
    "means from found transposed": (
        "products",
        lambda: head("products", "means", 0, lambda s: transposed_times(s.row, s.found, s.P, s.mu)),
    ),
    "the Gram matrix of W without M2": (
        "products",
        lambda: heads(
            "products",
            "whiten, 1.5",
            lambda s: total(scaled(s.row, s.W, s.Z, 1.5), triple(s.W, s.W, s.W, s.Z, -0.5)),
            lambda s: total(scaled(s.row, s.P, s.Q, 1.5), triple(s.W, s.W, s.P, s.Q, -0.5)),
        ),
    ),
    "a correction is not scaled": (
        "products",
        lambda: head(
            "products",
            "correct, scaled",
            0,
            lambda s: total(scaled(s.row, s.Y, s.Z, 9 / 4), triple(s.Y, s.Y, s.Y, s.Z, -27 / 16)),
        ),
    ),
    # --- moments and noise
    "noise is not subtracted from the second moment": (
        "products",
        lambda: head("products", "less noise", 0, lambda s: total(scaled(s.id, s.S2, s.M2))),
    ),
    "noise is added to the second moment": (
        "products",
        lambda: head(
            "products", "less noise", 0, lambda s: total(scaled(s.id, s.S2, s.M2), scaled(s.id, s.sI, s.M2))
        ),
    ),
    "noise is not subtracted from the products": (
        "products",
        lambda: head("products", "whiten one side", 0, lambda s: times(s.xx, s.pair, s.lift, s.half)),
    ),
    "coordinates do not stand for the noise": (
        "products",
        lambda: head("products", "project", 0, lambda s: linear_pair(score(s.xn, s.W), s.row, s.yn)),
    ),
    "one of the two other noise terms is missing": (
        "products",
        lambda: head(
            "products",
            "whiten both",
            0,
            lambda s: linear_pair(
                score(s.half, s.turned) + score(s.noise, s.turned), s.lift.part(0, s.yy.width), s.yy
            ),
        ),
    ),
    "noise tokens have no weights": (
        "squares",
        lambda: head("squares", "project", 1, lambda s: linear_pair(score(s.xn, s.W), s.row, s.yn)),
    ),
    "noise tokens at m are missing": (
        "squares",
        lambda: head(
            "squares",
            "project",
            1,
            lambda s: linear_pair(
                score(s.xn, s.W) - 0.5 * score(s.s_plus, s.W) + 0.5 * score(s.s_minus, s.W), s.row, s.yn
            ),
        ),
    ),
    "noise tokens stand at e_p, not m + e_p": (
        "squares",
        lambda: head("squares", "project", 0, lambda s: linear_pair(score(s.x, s.W), s.row, s.y)),
    ),
    "points are not divided by N": ("products", lambda: with_tokens("products", xn=scaled_by(24.0))),
    "products are read in halved": ("products", lambda: with_tokens("products", xx=scaled_by(0.5))),
    "the centre is added to the covariance": (
        "products, estimated",
        lambda: head(
            "products, estimated",
            "covariance",
            0,
            lambda s: total(scaled(s.id, s.S2, s.C), transposed_times(s.id, s.m_pivot, s.m_pivot, s.C)),
        ),
    ),
    "the inverse starts from nothing like an inverse": (
        "products, estimated",
        lambda: part("products, estimated", "covariance", 0, lambda s: copy(s.id, s.inverse, 1e-9)),
    ),
    "the inverse is not squared": (
        "products, estimated",
        lambda: head(
            "products, estimated",
            "square the inverse",
            0,
            lambda s: times(s.inverse, s.id, s.id, s.improved),
        ),
    ),
    "one step of the inverse power": (
        "products, estimated",
        lambda: built("products, estimated", **(OPTIONS | ESTIMATED | {"inverse_steps": 1, "squarings": 1})),
    ),
    # --- iterations
    "one step of Newton-Schulz": ("products", lambda: rebuilt("products", whitenings=1)),
    "one step of Newton-Schulz, squares": ("squares", lambda: rebuilt("squares", whitenings=1)),
    "one round": ("products", lambda: rebuilt("products", rounds=1)),
    "one step of the power iteration": ("products", lambda: rebuilt("products", steps=1)),
    "half of the steps for reciprocals": ("products", lambda: rebuilt("products", reciprocals=8)),
    "nothing is stretched": (
        "products",
        lambda: heads(
            "products",
            "whiten, 2.25",
            lambda s: total(scaled(s.row, s.W, s.Z)),
            lambda s: total(scaled(s.row, s.P, s.Q)),
        ),
    ),
    "a step too long": (
        "products",
        lambda: heads(
            "products",
            "whiten, 1.5",
            lambda s: total(scaled(s.row, s.W, s.Z, 1.5), triple(s.P, s.W, s.W, s.Z, -0.5001)),
            lambda s: total(scaled(s.row, s.P, s.Q, 1.5), triple(s.P, s.W, s.P, s.Q, -0.5001)),
        ),
    ),
    "few pieces": ("squares", lambda: rebuilt("squares", pieces=32)),
    # --- the power iteration
    "steps are not normalised": (
        "products",
        lambda: replaced(
            "products", "contract", lambda s, layer: dataclasses.replace(layer, unit_output=False)
        ),
    ),
    "the worst start is chosen": (
        "products",
        lambda: head("products", "image", 0, lambda s: times(s.vv, s.entry, s.T, s.w, -1.0)),
    ),
    "scores pass a gate that is too small": (
        "products",
        lambda: replaced("products", "image", lambda s, layer: image_layer(s, 1e-3)),
    ),
    "no deflation": (
        "products",
        lambda: head("products", "deflate", 0, lambda s: total(scaled(s.entry, s.T, s.T_left))),
    ),
    "deflation adds": (
        "products",
        lambda: head(
            "products",
            "deflate",
            0,
            lambda s: total(
                scaled(s.entry, s.T, s.T_left), times_transposed(s.entry, s.vv_pivot, s.lv, s.T_left)
            ),
        ),
    ),
    "deflation is a ten-thousandth too little": (
        "products",
        lambda: head(
            "products",
            "deflate",
            0,
            lambda s: total(
                scaled(s.entry, s.T, s.T_left),
                times_transposed(s.entry, s.vv_pivot, s.lv, s.T_left, -1 + 1e-4),
            ),
        ),
    ),
    "what was found is forgotten": (
        "products",
        lambda: head("products", "deflate", 1, lambda s: total(times(s.row, s.turn, s.lv, s.new))),
    ),
    "the turn does not pass on": (
        "products",
        lambda: head("products", "deflate", 3, lambda s: times(s.turn, s.row, s.row, s.new_turn)),
    ),
    "half of what is found is written down": (
        "products",
        lambda: part("products", "deflate", 8, lambda s: move(s.new, s.found, 0.5)),
    ),
    # --- recovery
    "weights are lambda^-1": (
        "products",
        lambda: head("products", "squares", 0, lambda s: times(s.D, s.row, s.row, s.A)),
    ),
    "weights are divided by a sum with one row twice": (
        "products",
        lambda: head(
            "products",
            "sum",
            0,
            lambda s: linear_pair(score(s.ones, s.X) + score(s.row, s.X), s.is_row, s.sum),
        ),
    ),
    "weights are not divided by their sum": (
        "products",
        lambda: head("products", "weights", 0, lambda s: times(s.raw, s.row, s.row, s.weight)),
    ),
    "means of W in the place of P": (
        "products",
        lambda: head("products", "means", 0, lambda s: times(s.found, s.row, s.W, s.mu)),
    ),
    "Newton's step adds": (
        "products",
        lambda: head(
            "products",
            "Newton",
            0,
            lambda s: total(scaled(s.row, s.X, s.D, 2.0), triple(s.X, s.A, s.X, s.D, -0.99)),
        ),
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_right_weights_keep_their_bounds(variant: str) -> None:
    """Run with its checks, unchecked, and put together again: a mutant fails by its mistake alone."""
    compared = expected(variant).beside(run(right(variant), problem(variant)))
    assert compared.broken() == []
    assert compared.claimed() > 0.5
    assert broken(variant, dataclasses.replace(right(variant))) == []
    assert broken(variant, with_tokens(variant)) == []


@pytest.mark.parametrize(("variant", "mutant"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mistake_leaves_the_bounds(variant: str, mutant: Callable[[], SpectralConstruction]) -> None:
    assert broken(variant, mutant())


def test_the_factor_transposed_is_no_mistake() -> None:
    """It is symmetric: P W^T with P = W M2."""
    same = heads(
        "products",
        "whiten, 1.5",
        lambda s: total(scaled(s.row, s.W, s.Z, 1.5), triple(s.W, s.P, s.W, s.Z, -0.5)),
        lambda s: total(scaled(s.row, s.P, s.Q, 1.5), triple(s.W, s.P, s.P, s.Q, -0.5)),
    )
    assert broken("products", same) == []


def test_another_order_of_the_entries_is_no_mistake() -> None:
    """Their ids are written and asked by alike: T stands elsewhere, and is the same."""
    assert broken("products", with_tokens("products", entry=rolled)) == []


def test_the_sign_of_all_vectors_is_no_mistake() -> None:
    """T(I, v, v) is the same for -v: a start of the other sign."""
    same = head("products", "start", 0, lambda s: times_transposed(s.direction, s.W, s.row, s.v, -1.0))
    assert broken("products", same) == []


def test_layers_that_write_the_same_are_the_same() -> None:
    """The helpers above take the layers as they are built."""
    s, plan = right("products").stream, right("products").plan
    names = {layer.name: layer for layer in right("products").construction.layers}
    assert names["means"] == means_layer(s, plan.tensor_bound)
    assert names["weights"] == weights_layer(s)
    assert names["correct"] == correct_layer(s, 1.0)
    assert names["whiten, 1.5"] == whiten_layer(s, 1.5, 0.5)
    assert names["Newton"] == newton_layer(s.row, s.A, s.X, s.D)
    assert clear(s.Y) in names["correct"].mlp
