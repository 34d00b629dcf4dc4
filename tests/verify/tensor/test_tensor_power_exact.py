"""Theorem 2 in exact arithmetic: the evaluator, both symbolic routes, and that broken weights are caught."""

import copy
import dataclasses
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import verify.tensor.exact as tensor_power_exact
import verify.tensor.exact_checks as checks
import verify.tensor.symbolic as tensor_power_symbolic
from constructions import LayerShape, Transformer, TransformerShape, em_construction
from constructions.language.rational import ExactTransformer
from constructions.language.rounding import gamma
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from verify.tensor.exact import (
    ALL_CASES,
    Task,
    draw_task,
    embedding_difference,
    exact_path,
    first_difference,
    float_integer,
    growth_holds,
    piecewise_direction,
    rational_equality,
)
from verify.tensor.layout import FORMS, Form, layout
from verify.tensor.symbolic import BOUND, rms_gain_error, rms_identity, symbolic_identity

PAIRS, OFFSET = Form(False, False), Form(True, False)
U = 2.0**-53

# ---- the evaluator against the runtime

SHAPES = {
    "both": (LayerShape(3, 4, 9), LayerShape(2, 3, 5)),
    "attention alone": (LayerShape(2, 3, 0),),
    "MLP alone": (LayerShape(0, 0, 6),),
}
OPTIONS = [{}, {"divide_by_tokens": True}, {"score_scale": 0.375, "loops": 2}]
WIDTH, TOKENS = 6, 5


def random_transformer(layers, seed, **options) -> Transformer:
    g = torch.Generator().manual_seed(seed)
    transformer = Transformer(TransformerShape(WIDTH, layers, attention="relu", **options))
    for p in transformer.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64) / 2
        p.data[torch.rand(p.shape, generator=g) < 0.3] = 0
    return transformer


def fractions(h: torch.Tensor) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in h.tolist()]


def roundings(transformer: Transformer) -> int:
    """Roundings on the longest way from an input to an output: attention is cubic in the state."""
    count = 0
    for _ in range(transformer.shape.loops):
        for layer in transformer.shape.layers:
            attention = 3 * WIDTH + (2 + layer.heads) * layer.head_dim + TOKENS + 4
            count = 3 * count + attention if layer.heads else count
            count += WIDTH + layer.hidden + 4 if layer.hidden else 0
    return count


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("layers", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_the_runtime_is_the_exact_value_to_rounding(layers, options, masked) -> None:
    for seed in range(3):
        transformer = random_transformer(layers, seed, **options)
        h = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        real = torch.tensor([True, True, False, True, False]) if masked else None
        mask = None if real is None else real[None]
        got = transformer(h[None], mask)[0]
        exact = ExactTransformer(transformer)(fractions(h), None if real is None else real.tolist())
        # An error relative to the same sums with every term made positive, where ReLU is 1-Lipschitz.
        positive = copy.deepcopy(transformer)
        for p in positive.parameters():
            p.abs_()
        steps = roundings(transformer)
        limit = gamma(2 * steps, U) * positive(h.abs()[None], mask)[0]
        error = torch.tensor(
            [
                [float(abs(Fraction(x) - y)) for x, y in zip(*rows, strict=True)]
                for rows in zip(got.tolist(), exact, strict=True)
            ]
        )
        assert (error <= limit).all()
        assert limit.max() < 1e-7 * positive(h.abs()[None], mask).max()
        assert (got - h).abs().max() > 0.1


@torch.no_grad()
def test_the_runtime_is_the_exact_value_where_float64_rounds_nothing() -> None:
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        transformer = random_transformer(SHAPES["both"][:1], seed, divide_by_tokens=True)
        for p in transformer.parameters():
            p.data = torch.randint(-4, 5, p.shape, generator=g).double() / 4
        h = torch.randint(-4, 5, (4, WIDTH), generator=g).double() / 2
        assert ExactTransformer(transformer)(fractions(h)) == fractions(transformer(h[None])[0])


@torch.no_grad()
def test_float32_weights_are_taken_as_they_are() -> None:
    transformer = random_transformer(SHAPES["both"], 0)
    exact = ExactTransformer(transformer.float())
    h = fractions(torch.eye(3, WIDTH))
    assert exact(h) == ExactTransformer(transformer.double())(h)


def test_passes_are_the_loops() -> None:
    transformer = random_transformer(SHAPES["both"], 1, loops=3)
    once = random_transformer(SHAPES["both"], 1)
    h = fractions(torch.eye(3, WIDTH))
    states = list(ExactTransformer(transformer).passes(h))
    assert len(states) == 3
    step = ExactTransformer(once)
    assert states == [step(h), step(step(h)), step(step(step(h)))]
    assert ExactTransformer(transformer)(h) == states[-1]


REFUSED = {
    "attention is 'softmax'": lambda: Transformer(TransformerShape(3, (LayerShape(1, 1, 1),))),
    "layer 1: attention is 'softmax'": lambda: random_transformer(
        (LayerShape(1, 1, 1), LayerShape(1, 1, 1, attention="softmax")), 0
    ),
    "activation is 'gelu'": lambda: random_transformer(SHAPES["both"], 0, activation="gelu"),
    "norm is 'layer'": lambda: random_transformer(SHAPES["both"], 0, norm="layer"),
    "norm is 'rms'": lambda: random_transformer(SHAPES["both"], 0, norm="rms"),
    "layer 1 has an output norm": lambda: random_transformer(
        (LayerShape(1, 1, 1), LayerShape(1, 1, 1, True)), 0
    ),
    "layer 0 has an output norm": lambda: tensor_power_construction(2, 1, normalise="rms").to_transformer(),
    "'softmax'; exact": lambda: em_construction(1, 2, 1, 4).to_transformer(),
    "'softmax'; exact rational": lambda: softmax_tensor_power_construction(2, 1, 0.01).to_transformer(),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_exact_is_refused(message) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        ExactTransformer(REFUSED[message]())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", ["layers.0.attention.key", "layers.0.mlp.b1"])
def test_weights_that_are_not_finite_are_refused(name, value) -> None:
    transformer = random_transformer(SHAPES["both"], 0)
    transformer.get_parameter(name).data.view(-1)[1] = value
    with pytest.raises(ValueError, match=f"a weight is {value}"):
        ExactTransformer(transformer)


@pytest.mark.parametrize(
    ("row", "real", "message"),
    [
        ([Fraction(1)] * 5, None, "holds 5 numbers; the stream is 6 wide"),
        ([Fraction(1)] * 5 + [0.5], None, "holds a float"),
        ([Fraction(1)] * 6, [False], "no token is real"),
    ],
)
def test_tokens_that_are_not_exact_or_do_not_fit_are_refused(row, real, message) -> None:
    with pytest.raises(ValueError, match=message):
        ExactTransformer(random_transformer(SHAPES["both"], 0))([row], real)


# ---- fractions


def test_random_instances_are_equal_in_every_form() -> None:
    outcome = rational_equality(ALL_CASES, seed=1)
    assert outcome.counterexample is None
    assert outcome.instances == 96
    assert outcome.by_form == {str(form): 24 for form in FORMS}
    assert outcome.steps == 24 * (1 + 2 + 3 + 4)
    assert 20 < outcome.embeddings < 76


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_thousands_of_instances_are_equal(seed) -> None:
    assert rational_equality(3000, seed).counterexample is None


def test_the_draw_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    tasks = [draw_task(index, rng) for index in range(ALL_CASES)]
    assert {(t.form, t.dim, t.steps) for t in tasks} == {
        (form, d, steps) for form in FORMS for d in range(1, 7) for steps in range(1, 5)
    }
    assert all(t.dim <= t.tokens <= t.max_dim <= 6 for t in tasks)
    assert any(t.dim < t.tokens for t in tasks)
    assert any(t.tokens < t.max_dim for t in tasks)
    symmetric = [is_symmetric(t) for t in tasks if t.dim > 2]
    assert any(symmetric)
    assert not all(symmetric)
    entries = [x for t in tasks for part in t.T for row in part for x in row]
    assert 0 < sum(x == 0 for x in entries) < len(entries)
    assert min(entries) == -4
    assert max(entries) == 4
    assert {x.denominator for x in entries} == {1, 2, 3, 4, 5}
    assert all(any(t.path[0]) for t in tasks)


def is_symmetric(task: Task) -> bool:
    d = range(task.dim)
    return all(task.T[i][j][m] == task.T[j][i][m] == task.T[m][j][i] for i in d for j in d for m in d)


def test_the_exact_iteration_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    T, v = rng.integers(-3, 4, (4, 4, 4)), rng.integers(-3, 4, 4)
    path = exact_path(
        [[[Fraction(int(x)) for x in r] for r in p] for p in T], [Fraction(int(x)) for x in v], 2
    )
    for before, after in pairwise(path):
        w = np.array([int(x) for x in before], dtype=object)
        assert after == np.einsum("ijm,j,m->i", T.astype(object), w, w).tolist()


@given(st.fractions(min_value=0, max_value=2**200))
def test_the_offset_is_the_least_float_integer(least) -> None:
    bound = float_integer(least)
    assert int(float(bound)) == bound >= max(1, least)
    assert bound == 1 or math.nextafter(bound, 0) < least or bound - 1 < least


def test_an_offset_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="a float holds exactly"):
        OFFSET.build(1, 1, 2**53 + 1)


def cube(d: int, seed: int) -> list[list[list[Fraction]]]:
    rng = np.random.default_rng(seed)
    return [
        [[Fraction(int(rng.choice([-3, -2, 2, 5])), 3) for _ in range(d)] for _ in range(d)] for _ in range(d)
    ]


def task_of(form: Form, v: list[int], steps: int = 1, seed: int = 0, tokens: int | None = None) -> Task:
    d = len(v)
    start = [Fraction(x) for x in v]
    T = cube(d, seed)
    n = d if tokens is None else tokens
    return Task(0, form, n, n, T, exact_path(T, start, steps), False)


@pytest.mark.parametrize("mean", [False, True])
def test_an_offset_at_its_bound_suffices_and_one_below_does_not(mean) -> None:
    task = task_of(Form(True, mean), [3, -3])
    least = 18 if mean else 9
    assert task.required_offset == least
    for bound, equal in ((least, True), (least - 1, False)):
        built = task.form.build(2, 1, bound)
        difference = first_difference(ExactTransformer(built.to_transformer()), built, task)
        assert (difference is None) == equal


def test_a_transformer_with_other_loops_is_not_called_equal() -> None:
    built = PAIRS.build(2, 3, 1)
    exact = ExactTransformer(built.to_transformer())
    assert "makes 3 steps" in first_difference(exact, built, task_of(PAIRS, [1, -2], steps=2))


def test_unrolled_layers_are_equal_too() -> None:
    task = task_of(PAIRS, [1, -2], steps=3)
    built = PAIRS.build(2, 3, 1)
    s = built.construction.stream
    got = ExactTransformer(built.to_transformer(looped=False))(layout(s, PAIRS, task.T, task.path[0], 2))
    assert got == layout(s, PAIRS, task.T, task.path[3], 2)


def test_the_layout_is_what_the_construction_embeds() -> None:
    rng = np.random.default_rng(3)
    dyadic = [t for t in (draw_task(i, rng) for i in range(ALL_CASES)) if t.dyadic]
    padded = 0
    for task in dyadic:
        built = task.form.build(task.max_dim, task.steps, 1)
        assert embedding_difference(built, task) is None
        padded += task.tokens > task.dim
    assert padded > 5


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("scale", [Fraction(7, 5), Fraction(-3)])
def test_growth_is_exact(scale, form) -> None:
    assert all(growth_holds(scale, steps, form) for steps in range(1, 6))


def test_the_piecewise_norm_keeps_the_direction() -> None:
    assert piecewise_direction(24, seed=2) is None


@pytest.mark.parametrize("check", [rational_equality, piecewise_direction])
def test_nothing_is_claimed_of_no_instance(check) -> None:
    with pytest.raises(ValueError, match="instances is 0; at least 1 is needed"):
        check(0, 0)


# ---- symbols


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("dim", "max_dim"), [(1, 2), (2, 2), (2, 3), (3, 3)])
def test_one_step_is_an_identity(dim, max_dim, form) -> None:
    outcome = symbolic_identity(dim, form, max_dim)
    assert outcome.at_once
    assert outcome.patterns == outcome.patterns_held == 4**dim


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_one_step_is_an_identity_in_four_dimensions(form) -> None:
    assert symbolic_identity(4, form).held


def test_the_rms_norm_is_the_length() -> None:
    assert all(rms_identity(dim) for dim in (1, 2, 4))
    for max_dim in range(1, 7):
        error = rms_gain_error(max_dim)
        assert error is not None
        assert error <= Fraction(1, 2**52)


def test_weights_of_several_steps_or_with_a_norm_are_refused() -> None:
    with pytest.raises(ValueError, match="applied 2 times"):
        symbolic_identity(2, PAIRS, transformer=PAIRS.build(2, 2, 1).to_transformer())
    normed = tensor_power_construction(2, 1, normalise="rms").to_transformer()
    with pytest.raises(ValueError, match="output norm"):
        symbolic_identity(2, PAIRS, transformer=normed)


@pytest.mark.parametrize("option", [{"divide_by_tokens": True}, {"score_scale": 1 + 2.0**-40}], ids=str)
def test_the_shape_of_the_weights_counts_in_both_routes(option) -> None:
    transformer = PAIRS.build(2, 1, 1).to_transformer()
    transformer.shape = dataclasses.replace(transformer.shape, **option)
    outcome = symbolic_identity(2, PAIRS, transformer=transformer)
    assert not outcome.at_once
    assert outcome.patterns_held == 0


# ---- broken weights


def mutated(edit, form: Form, steps: int = 1, dim: int = 2) -> tuple[TensorPowerConstruction, Transformer]:
    built = form.build(dim, steps, BOUND)
    transformer = built.to_transformer()
    with torch.no_grad():
        edit(transformer)
    return built, transformer


def rationally_caught(edit, form: Form, dim: int = 2) -> bool:
    built, transformer = mutated(edit, form, dim=dim)
    exact = ExactTransformer(transformer)
    starts = ([2, -1, 1], [-1, 2, 2], [1, 2, -2], [-2, -1, 1])
    return any(
        first_difference(exact, built, task_of(form, start[:dim], seed=seed)) is not None
        for seed, start in enumerate(starts)
    )


def symbolically_caught(edit, form: Form, dim: int = 2) -> tuple[bool, bool]:
    outcome = symbolic_identity(dim, form, transformer=mutated(edit, form, dim=dim)[1])
    return not outcome.at_once, outcome.patterns_held < outcome.patterns


def nothing(transformer: Transformer) -> None:
    pass


def wrong_slice(transformer: Transformer) -> None:
    """Two heads of the contraction read each other's slice."""
    value = transformer.layers[0].attention.value
    value[[0, -2]] = value[[-2, 0]].clone()


def missing_last_head(transformer: Transformer) -> None:
    """Pairs: the negative head of the last coordinate. Offset: the head that subtracts B."""
    transformer.layers[0].attention.output[-1] = 0


def wrong_sign(transformer: Transformer) -> None:
    transformer.layers[0].attention.output[-1] *= -1


def missing_refresh(transformer: Transformer) -> None:
    transformer.layers[1].attention.output[1] = 0


def not_moved(transformer: Transformer) -> None:
    transformer.layers[1].mlp.w2[0] = 0


def not_cleared(transformer: Transformer) -> None:
    transformer.layers[0].mlp.w2[-1] = 0


def biased(transformer: Transformer) -> None:
    transformer.layers[1].mlp.b2[2] = 2.0**-40


def hidden_bias(transformer: Transformer) -> None:
    transformer.layers[1].mlp.b1[0] = 2.0**-40


EDITS = [
    wrong_slice,
    missing_last_head,
    wrong_sign,
    missing_refresh,
    not_moved,
    not_cleared,
    biased,
    hidden_bias,
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_right_weights_are_not_caught(form) -> None:
    assert not rationally_caught(nothing, form)
    assert symbolically_caught(nothing, form) == (False, False)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("edit", EDITS)
def test_broken_weights_are_caught_by_every_route(edit, form) -> None:
    assert rationally_caught(edit, form)
    assert symbolically_caught(edit, form) == (True, True)


def nudges(form: Form) -> list:
    """Every weight that is not 0, changed by the factor 1 + 2^-40, as an edit."""

    def nudge(name, place):
        def edit(transformer: Transformer) -> None:
            transformer.get_parameter(name)[place] *= 1 + 2.0**-40

        return edit

    weights = form.build(2, 1, BOUND).to_transformer().named_parameters()
    return [nudge(name, tuple(place)) for name, p in weights for place in p.detach().nonzero().tolist()]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_change_of_any_weight_by_2_to_the_minus_40_is_caught_in_fractions(form) -> None:
    edits = nudges(form)
    assert len(edits) >= 60
    assert all(rationally_caught(edit, form) for edit in edits)


@pytest.mark.parametrize("form", [PAIRS, OFFSET], ids=str)
def test_a_change_of_a_weight_by_2_to_the_minus_40_is_caught_in_symbols(form) -> None:
    assert all(symbolically_caught(edit, form) == (True, True) for edit in nudges(form)[::9])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_change_of_any_weight_by_2_to_the_minus_40_is_caught_in_symbols(form) -> None:
    assert all(symbolically_caught(edit, form) == (True, True) for edit in nudges(form))


# ---- broken tokens


def with_unit_at(*places: int):
    def wrong(stream, form, T, v, tokens, piecewise=False):
        rows = layout(stream, form, T, v, tokens, piecewise)
        unit = rows[0][stream.unit.start]
        for j, row in enumerate(rows):
            row[stream.unit.start] = unit if j in places else 0
        return rows

    return wrong


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("places", [(), (0, 1), (2,)], ids=str)
def test_a_unit_at_the_wrong_tokens_is_caught(form, places, monkeypatch) -> None:
    """Token 2 is padding. Any one real token would do: all of them hold the same w."""
    monkeypatch.setattr(tensor_power_exact, "layout", with_unit_at(*places))
    task = task_of(form, [2, -1], tokens=3)
    built = form.build(3, 1, BOUND)
    assert first_difference(ExactTransformer(built.to_transformer()), built, task) is not None
    monkeypatch.setattr(tensor_power_symbolic, "layout", with_unit_at(*places))
    outcome = symbolic_identity(2, form)
    assert not outcome.at_once
    assert outcome.patterns_held == 0


def test_a_unit_that_the_construction_puts_elsewhere_is_caught(monkeypatch) -> None:
    embed = TensorPowerConstruction.embed

    def wrong(self, batch):
        h, mask = embed(self, batch)
        unit = self.construction.stream.unit.slice
        h[..., unit] = h[..., unit].flip(1)
        return h, mask

    monkeypatch.setattr(TensorPowerConstruction, "embed", wrong)
    assert "embed differs" in (rational_equality(ALL_CASES, 0).counterexample or "")


# ---- the ledger


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(checks, "LEAST_INSTANCES", ALL_CASES)
    monkeypatch.setattr(checks, "DIRECTIONS", 12)
    monkeypatch.setattr(checks, "GROWTH_STEPS", (1, 3))
    monkeypatch.setattr(checks, "SYMBOLIC_SIZES", ((1, 1), (2, 2)))
    monkeypatch.setattr(checks, "RMS_DIMS", (1, 2))


@pytest.mark.usefixtures("few")
def test_the_records_are_proved_and_hold() -> None:
    rational, symbolic = checks.check_rational(5, 1), checks.check_symbolic(5, 1)
    assert [len(rational), len(symbolic)] == [3, 2]
    for record in rational + symbolic:
        assert record.passed
        assert record.evidence == "proved"
        assert record.dtype == "exact"
        assert record.seed == 5
        assert record.margin >= 1
        assert "\n" not in record.note
    assert [r.instances for r in rational] == [96, 12, 24]
    assert "pairs/sum 24, pairs/mean 24, offset/sum 24, offset/mean 24" in rational[0].note
    assert all(r.margin == math.inf for r in rational + symbolic[:1])


def test_the_ledger_draws_a_thousand_instances_at_least() -> None:
    assert checks.LEAST_INSTANCES == 1000


@pytest.mark.usefixtures("few")
def test_the_records_of_broken_weights_fail_and_say_where(monkeypatch) -> None:
    compiled = PowerIteration.to_transformer

    def broken(self, *args, **kwargs):
        transformer = compiled(self, *args, **kwargs)
        with torch.no_grad():
            transformer.layers[0].attention.output[0] *= 1 + 2.0**-40
            for p in transformer.parameters():
                if p.ndim == 1 and p.detach().all():  # the gain of the norm
                    p[0] *= 2
        return transformer

    monkeypatch.setattr(PowerIteration, "to_transformer", broken)
    records = checks.check_rational(0, 1) + checks.check_symbolic(0, 1)
    assert not any(record.passed for record in records)
    assert all(record.margin == 0 and math.isnan(record.observed) for record in records)
    assert all(record.evidence == "proved" for record in records)
    equal, direction, growth, step, norm = (record.note for record in records)
    assert equal.startswith("instance 0: pairs/sum, d = 1 of ")
    assert "instead of" in equal
    assert "tokens" in direction or "multiple" in direction
    assert growth == "lambda = 3/2, L = 1, pairs/sum"
    assert step.startswith("d = 1, d0 = 1, pairs/sum: at once False, by signs ")
    assert "no identity" in norm
