"""Wrong tensor power constructions leave the bounds that the right ones keep, on the same data.

Each mutant is a construction with one mistake: in the formulas, in the compiled weights, or in the tokens.
"""

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch
from tensor_power_instances import check_path, instances
from torch import Tensor

from constructions import (
    Block,
    Layer,
    ReluHead,
    SoftmaxHead,
    Stream,
    Transformer,
    dot,
    key_only,
    linear_pair,
    softmax_tensor_power_construction,
    tensor_power_construction,
)
from constructions.language.heads import Head, HeadSum
from constructions.language.structured.evaluation import DenseEvaluator, Evaluation
from constructions.language.structured.partitions import Tokens
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu import contract_layer, copy_layer, norm_layer, scale_layer
from constructions.tensor_power.softmax import broadcast_layer

D0, OFFSET, RANGE = 4, 2.0, (0.1, 10.0)
Edit = Callable[[Tensor, Tensor, PowerIteration], None]
RIGHT: dict[str, PowerIteration] = {
    "pairs": tensor_power_construction(D0, 1),
    "pairs, rms": tensor_power_construction(D0, 1, normalise="rms"),
    "offset": tensor_power_construction(D0, 1, offset=OFFSET),
    "piecewise": tensor_power_construction(D0, 1, normalise="piecewise", pieces=4000, norm_range=RANGE),
    "mean": tensor_power_construction(D0, 1, divide_by_tokens=True),
    "mean, rms": tensor_power_construction(D0, 1, normalise="rms", divide_by_tokens=True),
    "mean, piecewise": tensor_power_construction(
        D0, 1, normalise="piecewise", pieces=4000, norm_range=RANGE, divide_by_tokens=True
    ),
    "softmax": softmax_tensor_power_construction(D0, 1, 0.01, 2, 30.0, "none", 4.0),
    "softmax, rms": softmax_tensor_power_construction(D0, 1, 0.01, 2, 30.0),
}


@functools.cache
def problem(d: int) -> tuple[Tensor, Tensor]:
    """Tensors that are not symmetric and scaled so that |T(I, v, v)| is about 1 and v_m s_j at most 1."""
    T, v = instances("orthogonal", 20, d, seed=d)
    noise, _ = instances("gaussian", 20, d, seed=50 + d)
    T = T + 0.3 * noise
    return T / torch.linalg.matrix_norm(T.flatten(2), ord=2)[:, None, None, None], v


def unguarded(power: PowerIteration) -> PowerIteration:
    """The same without the checks of a run: here the bounds are to find the mistake."""

    def unchecked(*_: object) -> None:
        pass

    checks = dict.fromkeys(("_check_before", "_check_within", "_check_range"), unchecked)
    kind = type("Unguarded", (type(power),), checks)
    same = kind(**{f.name: getattr(power, f.name) for f in dataclasses.fields(power) if f.init})
    same._compiled.update(power._compiled)
    return same


def ways(mutant: PowerIteration) -> tuple[Evaluation, ...]:
    """Both, unless the mistake was made in the compiled weights."""
    return ("dense",) if mutant._compiled else ("dense", "structured")


def broken(name: str, mutant: PowerIteration, way: Evaluation = "dense") -> list[str]:
    """What leaves the bounds of the right construction in two steps, for d = d0 and below."""
    right, lines = RIGHT[name], []
    for d in (D0, D0 - 1):
        T, v = problem(d)
        path = unguarded(mutant).run(T, v, steps=2, evaluation=way).path
        if not path.isfinite().all() or not path.any(-1).all():
            lines.append(f"d = {d}: a step without a vector")
            continue
        first = check_path(right, T, v, steps=1, runner=unguarded(mutant), evaluation=way).broken()
        # A first step that is wrong can lead anywhere: the second matters where the first is right.
        lines += first or check_path(right, T, v, steps=2, runner=unguarded(mutant), evaluation=way).broken()
    return lines


def with_layers(name: str, *layers: Layer, **changes: object) -> PowerIteration:
    power = RIGHT[name]
    built = dataclasses.replace(power.construction, layers=layers or power.construction.layers, **changes)
    return dataclasses.replace(power, construction=built)


def with_weights(name: str, edit: Callable[[Transformer], None]) -> PowerIteration:
    transformer = RIGHT[name].to_transformer()
    with torch.no_grad():
        edit(transformer)
    power = dataclasses.replace(RIGHT[name])
    power._compiled["dense", torch.float64, "cpu"] = DenseEvaluator(transformer)
    return power


def with_tokens(name: str, edit: Edit) -> PowerIteration:
    """``edit(h, mask, power)`` changes the tokens, or the mask, in place."""
    power = RIGHT[name]

    class Edited(type(power)):  # type: ignore[misc]
        def tokens(self, batch):
            right = type(power).tokens(self, batch)
            h, mask = right.dense(), right.places.mask.clone()
            edit(h, mask, power)
            return Tokens.of_dense(self.stream, self.construction.inputs, h, mask)

    return Edited(**{f.name: getattr(power, f.name) for f in dataclasses.fields(power) if f.init})


def blocks(name: str) -> Stream:
    return RIGHT[name].construction.stream


def heads_of(name: str) -> list[Head]:
    return list(RIGHT[name].construction.layers[0].all_heads)


def with_heads(name: str, heads: list[Head]) -> PowerIteration:
    first, *rest = RIGHT[name].construction.layers
    return with_layers(name, dataclasses.replace(first, heads=(HeadSum(tuple(heads)),)), *rest)


def with_head(name: str, index: int, **changes: object) -> PowerIteration:
    heads = heads_of(name)
    heads[index] = dataclasses.replace(heads[index], **changes)
    return with_heads(name, heads)


def silence(layer: int, first: int, units: int) -> Callable[[Transformer], None]:
    """Hidden units ``first .. first + units`` write nothing."""

    def edit(transformer: Transformer) -> None:
        transformer.layers[layer].mlp.w2[first : first + units] = 0

    return edit


def dividing(on: bool) -> Callable[[Transformer], None]:
    """The other convention of ReLU attention, with the tokens of this one."""

    def edit(transformer: Transformer) -> None:
        for layer in transformer.layers:
            layer.attention.shape = dataclasses.replace(layer.attention.shape, divide_by_tokens=on)

    return edit


def scale_block(block: str, factor: float) -> Edit:
    return lambda h, _, power: h[..., getattr(power.construction.stream, block).slice].mul_(factor)


def by_tokens(block: str) -> Edit:
    """A block that should be N times something once is so twice: one power of N too many."""

    def edit(h: Tensor, mask: Tensor, power: PowerIteration) -> None:
        h[..., getattr(power.construction.stream, block).slice] *= mask.sum(1)[:, None, None]

    return edit


def roll_id(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    """Token j carries e_{j+1}."""
    part = h[..., power.construction.stream.id.slice]
    part.copy_(part.roll(1, dims=1))


def other_slices(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    """Token j carries ``T[j, :, :]`` turned instead of ``T[:, j, :]``: right for symmetric tensors only."""
    s = power.construction.stream
    first = int("sink" in s)
    part = h[:, first:, s.T.slice].unflatten(-1, (D0, D0))  # [batch, j, m, i]
    n = part.shape[1]
    turned = part.clone()
    turned[..., :n] = part[..., :n].transpose(1, 3)
    h[:, first:, s.T.slice] = turned.flatten(2)


def everywhere(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    unit = h[..., power.construction.stream.unit.start]
    unit.copy_(unit[:, :1].expand_as(unit))


def second_token(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    unit = h[..., power.construction.stream.unit.start]
    unit.copy_(unit.roll(1, dims=1))


def no_sum(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    """``T_sum`` leaves out the last m."""
    s = power.construction.stream
    h[..., s.T_sum.slice] -= h[..., s.T.part(h.shape[1] - 1, D0).slice]


def mask_sink(_: Tensor, mask: Tensor, power: PowerIteration) -> None:
    mask[:, 0] = False


def fill_sink(h: Tensor, _: Tensor, power: PowerIteration) -> None:
    """The sink carries a value: that of the first token, a millionth of it."""
    s = power.construction.stream
    h[:, 0, s.T.slice] = 1e-6 * h[:, 1, s.T.slice]


def swap_signs(name: str) -> PowerIteration:
    return with_heads(name, [dataclasses.replace(h, scale=-h.scale) for h in heads_of(name)])


def contract(name: str, **changes: object) -> PowerIteration:
    first, *rest = RIGHT[name].construction.layers
    return with_layers(name, dataclasses.replace(first, **changes), *rest)


def broadcasting(sharpness: float, read: Block) -> PowerIteration:
    first, second = RIGHT["softmax"].construction.layers
    s = blocks("softmax")
    head = SoftmaxHead(sharpness * key_only(s.key.sink), read=read, write=s.v)
    return with_layers("softmax", first, dataclasses.replace(second, heads=(head,)))


P, SHIFTED, W, X = blocks("pairs"), blocks("offset"), blocks("piecewise"), blocks("softmax")
Q, K = P.query, P.key
F = RIGHT["piecewise"].inverse_sqrt
softmax_built = functools.partial(softmax_tensor_power_construction, D0, 1)

MUTANTS: dict[str, tuple[str, PowerIteration]] = {
    # --- ReLU heads
    "a head reads the slice of another m": ("pairs", with_head("pairs", 0, read=P.T.part(1, D0))),
    "the negative head of a pair is missing": ("pairs", with_heads("pairs", heads_of("pairs")[:-1])),
    "the positive head of a pair is missing": ("pairs, rms", with_heads("pairs, rms", heads_of("pairs")[1:])),
    "the last pair is missing": ("pairs", with_heads("pairs", heads_of("pairs")[:-2])),
    "both heads of a pair add": ("pairs", with_head("pairs", 1, scale=1.0)),
    "every head with the other sign": ("pairs", swap_signs("pairs")),
    "every head with the other sign, normalised": ("pairs, rms", swap_signs("pairs, rms")),
    "a head is scaled by one part in a trillion": ("pairs", with_head("pairs", 2, scale=1 + 1e-12)),
    "a score reads v_0 twice": (
        "pairs",
        with_head("pairs", 2, score=dot(Q.v.part(0), K.s)),
    ),
    "a score reads the key's v instead of s": (
        "pairs",
        with_head("pairs", 0, score=dot(Q.v.part(0), K.v.part(0))),
    ),
    "v is not cleared": ("pairs", with_weights("pairs", silence(0, 0, 2 * D0))),
    "s is not cleared": ("pairs", with_weights("pairs", silence(0, 2 * D0, 2))),
    "w is not cleared": ("pairs", with_weights("pairs", silence(1, 2 * D0, 2 * D0))),
    "the norm is missing": ("pairs, rms", contract("pairs, rms", unit_output=False)),
    "a norm too many": ("pairs", contract("pairs", unit_output=True)),
    "s is refreshed from every token": ("pairs", with_tokens("pairs", everywhere)),
    "ids are permuted": ("pairs", with_tokens("pairs", roll_id)),
    "tokens carry slices along another axis": ("pairs", with_tokens("pairs", other_slices)),
    "s is refreshed from w at the query": (
        "pairs",
        with_layers(
            "pairs",
            contract_layer(P, HeadSum(tuple(heads_of("pairs"))), unit_output=False),
            dataclasses.replace(copy_layer(P), heads=(linear_pair(dot(Q.w, K.id), read=P.unit, write=P.s),)),
        ),
    ),
    "half of s is refreshed": (
        "pairs",
        with_layers(
            "pairs",
            contract_layer(P, HeadSum(tuple(heads_of("pairs"))), unit_output=False),
            dataclasses.replace(copy_layer(P), heads=(ReluHead(dot(Q.id, K.w), read=P.unit, write=P.s),)),
        ),
    ),
    # --- offset heads
    "the head that subtracts the offset is missing": (
        "offset",
        with_heads("offset", heads_of("offset")[:-1]),
    ),
    "the offset is subtracted once too little": ("offset", with_head("offset", -1, scale=-0.999999)),
    "the offset is added": ("offset", with_head("offset", -1, scale=1.0)),
    "a head has another offset": (
        "offset",
        with_head(
            "offset",
            0,
            score=dot(SHIFTED.query.v.part(0), SHIFTED.key.s) + 1.5 * OFFSET * key_only(SHIFTED.key.one),
        ),
    ),
    "a head has no offset": (
        "offset",
        with_head("offset", 0, score=dot(SHIFTED.query.v.part(0), SHIFTED.key.s)),
    ),
    "T_sum leaves one m out": ("offset", with_tokens("offset", no_sum)),
    # --- the piecewise norm
    "a hinge with the other sign": (
        "piecewise",
        with_weights("piecewise", lambda t: t.layers[1].mlp.w2[1900:2100].mul_(-1)),
    ),
    "|v|^2 is not cleared": (
        "piecewise",
        with_weights("piecewise", silence(1, F.units, 2)),
    ),
    "s is refreshed without the norm": (
        "piecewise",
        with_layers(
            "piecewise",
            contract_layer(W, HeadSum(tuple(heads_of("piecewise"))), unit_output=False),
            norm_layer(W, F),
            dataclasses.replace(
                scale_layer(W),
                heads=(
                    linear_pair(dot(W.query.id, W.key.w), read=W.unit, write=W.s),
                    ReluHead(dot(W.query.unit, W.key.r), read=W.w, write=W.v),
                ),
            ),
        ),
    ),
    "v is not scaled": (
        "piecewise",
        with_layers(
            "piecewise",
            contract_layer(W, HeadSum(tuple(heads_of("piecewise"))), unit_output=False),
            norm_layer(W, F),
            dataclasses.replace(
                scale_layer(W),
                heads=(
                    linear_pair(dot(W.query.id, W.key.w), read=W.r, write=W.s),
                    ReluHead(dot(W.query.unit, W.key.unit), read=W.w, write=W.v),
                ),
            ),
        ),
    ),
    # --- attention that divides by the number of tokens
    "heads do not divide by the tokens": ("mean", with_weights("mean", dividing(False))),
    "heads divide, tokens do not know": ("pairs", with_weights("pairs", dividing(True))),
    "s holds N^2 v_j": ("mean", with_tokens("mean", by_tokens("s"))),
    "id holds N^2 e_j": ("mean", with_tokens("mean", by_tokens("id"))),
    "unit holds N^2": ("mean", with_tokens("mean", by_tokens("unit"))),
    # --- softmax heads
    "the sink is masked": ("softmax", with_tokens("softmax", mask_sink)),
    "the sink has no score": ("softmax", with_tokens("softmax", scale_block("sink", 0.0))),
    "the sink has a millionth of a value": ("softmax", with_tokens("softmax", fill_sink)),
    "the scores have a lower sink than the scales": (
        "softmax",
        with_tokens("softmax", scale_block("sink", 1 - 1e-9)),
    ),
    "no head has the scale of the sink": (
        "softmax",
        with_heads(
            "softmax", [dataclasses.replace(h, scale=h.scale * 2.0**-43) for h in heads_of("softmax")]
        ),
    ),
    "a negative head of a softmax pair is missing": (
        "softmax",
        with_heads("softmax", [h for i, h in enumerate(heads_of("softmax")) if i != 1]),
    ),
    "the second pair of every m is missing": (
        "softmax",
        with_heads("softmax", [h for i, h in enumerate(heads_of("softmax")) if i % 4 < 2]),
    ),
    "one pair of one m has a wrong weight": (
        "softmax",
        with_heads(
            "softmax",
            [
                dataclasses.replace(h, scale=h.scale * (1 + 1e-7 * (i < 2)))
                for i, h in enumerate(heads_of("softmax"))
            ],
        ),
    ),
    "weights of one pair for two": (
        "softmax",
        with_layers("softmax", *softmax_built(0.01, 1, 30.0, "none", 4.0).construction.layers),
    ),
    "twice the step": (
        "softmax",
        with_layers("softmax", *softmax_built(0.04, 2, 30.0, "none", 4.0).construction.layers),
    ),
    "a step in the scores and another in the scales": (
        "softmax",
        with_tokens("softmax", scale_block("s", 1 + 1e-7)),
    ),
    "a softmax head reads the slice of another m": (
        "softmax",
        with_head("softmax", 0, read=X.T.part(1, D0)),
    ),
    "signs of a softmax pair swapped": (
        "softmax",
        with_head("softmax", 0, scale=heads_of("softmax")[1].scale),
    ),
    "softmax tokens carry slices along another axis": ("softmax", with_tokens("softmax", other_slices)),
    "softmax ids are permuted": ("softmax", with_tokens("softmax", roll_id)),
    "the softmax norm is missing": ("softmax, rms", contract("softmax, rms", unit_output=False)),
    "v is not cleared beside softmax": ("softmax", with_weights("softmax", silence(0, 0, 2 * D0))),
    "s is not cleared beside softmax": ("softmax", with_weights("softmax", silence(0, 2 * D0, 2))),
    "one coordinate is not picked": ("softmax", with_weights("softmax", silence(1, 4, 2))),
    "w is not cleared beside softmax": ("softmax", with_weights("softmax", silence(1, 2 * D0, 2 * D0))),
    "v is read from a slice of T": ("softmax", broadcasting(1000.0, X.T.part(0, D0))),
    "pick is wrong beyond its bound": (
        "softmax",
        with_layers("softmax", RIGHT["softmax"].construction.layers[0], broadcast_layer(X, 0.25)),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_construction_passes(name: str) -> None:
    for way in ("dense", "structured"):
        assert broken(name, dataclasses.replace(RIGHT[name]), way) == []


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_construction_put_together_again_passes(name: str) -> None:
    """So that a mutant fails by its mistake and not by the way it was made."""

    def nothing(*_: object) -> None:
        pass

    for same in (with_heads(name, heads_of(name)), with_weights(name, nothing), with_tokens(name, nothing)):
        assert broken(name, same) == []


@pytest.mark.parametrize(("name", "mutant"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mistake_leaves_the_bounds(name: str, mutant: PowerIteration) -> None:
    for way in ways(mutant):
        assert broken(name, mutant, way), way


def test_the_first_token_need_not_be_the_one_with_the_unit_where_all_hold_v() -> None:
    """Not a mistake: every token holds the same v and w. With the piecewise norm one token does."""
    same = with_tokens("pairs", second_token)
    assert broken("pairs", same) == []
    assert broken("piecewise", with_tokens("piecewise", second_token))


def test_a_common_factor_of_s_does_not_matter_where_the_step_is_normalised() -> None:
    """Not mistakes either: s is N times too large, or too small, and so is w; its direction is the same."""
    for name in ("mean, rms", "mean, piecewise"):
        assert broken(name, with_tokens(name, by_tokens("id"))) == []
    assert broken("pairs, rms", with_weights("pairs, rms", dividing(True))) == []


@pytest.mark.parametrize("sharpness", [0.0, -1000.0])
def test_which_token_is_broadcast_does_not_matter_while_all_hold_one_w(sharpness: float) -> None:
    """Nor is this a mistake in real arithmetic; that tokens round differently is a test of its own."""
    assert broken("softmax", broadcasting(sharpness, X.w)) == []


def test_symmetric_tensors_do_not_show_slices_along_another_axis() -> None:
    """Why the tests here use tensors that are not symmetric."""
    T, v = instances("symmetric", 10, D0, seed=0)
    mutant = MUTANTS["tokens carry slices along another axis"][1]
    assert check_path(RIGHT["pairs"], T, v, steps=1, runner=mutant).broken() == []
