"""Heads ablated and values patched: planted networks whose answer is known, the statistics, the part."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from model_instances import fields, points, small_model
from scipy.stats import kstest
from tiny_subjects import generator, normal, subject_with
from torch import Tensor, nn

from baselines.em_steps import em_step, m_step
from baselines.metrics import errors
from console.phrases import Interval
from console.typed_json import from_plain, to_plain
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.comparison.causal import PART
from training.comparison.causal import measure as causal
from training.comparison.causal import report as causal_report
from training.comparison.causal.ablation import (
    KINDS,
    Agreement,
    ablations,
    rank_agreement,
    resume,
    resumed,
    rotation,
    without_head,
)
from training.comparison.causal.measure import CausalResult
from training.comparison.causal.patches import Bench, em_keeps, point_patches, token_patches
from training.comparison.causal.patching import (
    FLOOR,
    em_from,
    estimate_values,
    fit,
    mixture_values,
    point_values,
    ratio,
    to_mixture,
    weighted_means,
)
from training.comparison.common.em_answers import AnsweredTasks, HeadGrid, draw_tasks
from training.interpretability.recording import Recording, attention_of, layers_of, record
from training.model.tgmm import TGMM

U = unit_roundoff(torch.float64)
K, N, D = 3, 40, 2
CLOSE = 1e-9
"""Sums of at most 1e4 float64 numbers of size at most 1e3, a handful of times, through least squares of
condition below 1e2: 1e4 * 1e2 * U is 1e-10 relative."""


@pytest.fixture(scope="module")
def tasks() -> AnsweredTasks:
    return draw_tasks(subject_with(small_model()), 8, K, N, generator(1))


@pytest.fixture(scope="module")
def fitted() -> AnsweredTasks:
    return draw_tasks(subject_with(small_model()), 24, K, N, generator(2))


class AsIs(nn.Module):
    """No norm; it has a weight, whose dtype the read-out asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, h: Tensor) -> Tensor:
        return h


# --- resuming, ablations -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"readout": "pooling"}], ids=str)
@torch.no_grad()
def test_resuming_anywhere_gives_the_same_estimate_and_leaves_the_network_as_it_was(options: dict) -> None:
    model, X = small_model(options), points(3, 7, 2)
    recording, backbone = record(model, X, 2), model.backbone
    for layer, state in enumerate(recording.states):
        found = resume(model, X, 2, layer, state)
        assert all(map(torch.equal, fields(found), fields(recording.estimate)))
        assert model.backbone is backbone
    with pytest.raises(RuntimeError, match="stop"), resumed(model, 1, recording.states[1]):
        raise RuntimeError("stop")
    assert model.backbone is backbone
    for layer in (-1, 3):
        with pytest.raises(ValueError, match=f"layer is {layer}, needs 0 to 2"):
            resume(model, X, 2, layer, recording.states[0])


def test_a_rotation_keeps_lengths_and_is_not_the_identity() -> None:
    Q = rotation(8, generator(0), torch.float64)
    assert (Q @ Q.mT - torch.eye(8)).abs().max() <= 8 * gamma(64, U)
    assert not torch.equal(Q, rotation(8, generator(1), torch.float64))
    assert (Q - torch.eye(8)).norm() > 1


@torch.no_grad()
def test_the_control_changes_the_stream_by_the_same_length(tasks: AnsweredTasks) -> None:
    model = small_model()
    recording = record(model, tasks.X, K)
    seen: dict[str, Tensor] = {}
    module = layers_of(model)[0]
    turn = rotation(8, generator(3), torch.float64)
    calls: list[Tensor] = []
    assert module.mlp is not None
    handle = module.norm2.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    without_head(model, tasks.X, recording, 0, 1, turn)
    handle.remove()
    whole = recording.states[0] + attention_of(module)(module.norm1(recording.states[0]))
    for kind, state in zip(("mean", "rotated", "zero"), calls, strict=True):
        seen[kind] = (state - whole).norm(dim=-1)
    assert seen["mean"].min() > 1e-3
    assert (seen["rotated"] - seen["mean"]).abs().max() < CLOSE
    assert (calls[1] - calls[0]).norm(dim=-1).min() > 1e-3
    assert len(attention_of(module)._forward_hooks) == 0


@torch.no_grad()
def test_ablation_finds_the_head_that_matters_and_an_idle_one_moves_nothing(tasks: AnsweredTasks) -> None:
    model = small_model()
    for index, layer in enumerate(layers_of(model)):
        attention = attention_of(layer)
        for head in range(2):
            attention.output[head] *= 3.0 if (index, head) == (0, 1) else 0.0
    recording = record(model, tasks.X, K)
    found = ablations(model, tasks, recording, generator(0))
    for kind in KINDS:
        moved = torch.tensor(found.moved[kind].mean)
        assert moved.argmax() == 1  # layer 0, head 1
        assert moved[0, 1] > 1e-4
        assert moved.flatten()[[0, 2, 3]].abs().max() < CLOSE
        assert found.moved[kind].low[0][1] < moved[0, 1] < found.moved[kind].high[0][1]
    own = without_head(model, tasks.X, recording, 0, 1, torch.eye(8, dtype=torch.float64))
    # Turned by nothing the control is the ablation itself.
    gap = errors(own["mean"].to_mixture(), own["rotated"].to_mixture()).total
    assert gap.max() < CLOSE
    worse = errors(own["mean"].to_mixture(), tasks.truth).total
    worse = worse - errors(recording.estimate.to_mixture(), tasks.truth).total
    assert found.worse["mean"].mean[0][1] == pytest.approx(float(worse.mean()), abs=CLOSE)


def test_rank_agreement_of_known_orders() -> None:
    effect = torch.arange(24.0).reshape(6, 4) ** 3
    P = 999
    up = rank_agreement(effect.sqrt(), effect, P, generator(0))
    assert up.rho == pytest.approx(1)
    assert up.p == 1 / (P + 1)
    down = rank_agreement(-effect, effect, P, generator(0))
    assert down.rho == pytest.approx(-1)
    assert down.p == 1 / (P + 1)
    assert rank_agreement(torch.ones(6, 4), effect, P, generator(0)) == Agreement(0.0, 1.0, 1.0)
    layers = torch.arange(6.0)[:, None].expand(6, 4)
    depth = rank_agreement(layers, effect, P, generator(0))  # what the layer alone explains
    assert depth.p == 1 / (P + 1)
    assert depth.p_within == 1.0
    with pytest.raises(ValueError, match="permutations is 0"):
        rank_agreement(effect, effect, 0, generator(0))


def test_p_of_unrelated_orders_is_uniform() -> None:
    runs, P = 150, 39
    jitter = torch.rand(runs, 2, generator=generator(5), dtype=torch.float64)
    found = [
        rank_agreement(normal(3, 4, seed=2 * i), normal(3, 4, seed=2 * i + 1), P, generator(i))
        for i in range(runs)
    ]
    for column, name in enumerate(("p", "p_within")):
        p = torch.tensor([getattr(value, name) for value in found], dtype=torch.float64) - jitter[
            :, column
        ] / (P + 1)
        assert kstest(p.numpy(), "uniform").pvalue > 0.01


# --- encoders ------------------------------------------------------------------------------------------


def test_an_encoder_of_a_planted_stream_is_exact() -> None:
    W, b = normal(3, 8, seed=1), normal(4, 8, seed=2)
    z, new = normal(30, 4, 3, seed=3), normal(5, 4, 3, seed=4)
    h, other = z @ W + b, new @ W + b
    encoder = fit(z, h, per_token=True)
    assert len(encoder.basis) == 3
    assert encoder.explained(new, other) == pytest.approx(1, abs=CLOSE)
    assert (encoder.replaced(other, new) - other).abs().max() < CLOSE
    assert (encoder.replaced(other, new.roll(1, 0)) - other.roll(1, 0)).abs().max() < CLOSE
    # What does not lie along the encoded subspace stays.
    outside = normal(5, 4, 8, seed=5)
    outside = outside - outside @ encoder.basis.mT @ encoder.basis
    moved = encoder.replaced(other + outside, new.roll(1, 0)) - other.roll(1, 0)
    assert (moved - outside).abs().max() < CLOSE
    decoder = fit(h, z, per_token=True)
    assert (decoder.predicted(other) - new).abs().max() < CLOSE


def test_shuffled_values_explain_nothing_and_one_average_is_not_one_a_token() -> None:
    W, b = normal(3, 8, seed=1), 5 * normal(4, 8, seed=2)
    z, new = normal(400, 4, 3, seed=3), normal(100, 4, 3, seed=4)
    h, other = z @ W + b, new @ W + b
    # The slope of unrelated values is of the order 1 / sqrt(1600); three of them explain 3 / 1600 too much.
    assert abs(fit(z.roll(1, 0), h, True).explained(new, other)) < 10 * 3 / 1600 + 4 / math.sqrt(400 * 4)
    assert fit(z, h, False).explained(new, other) < 0.9


def test_held_values_explain_and_are_not_moved() -> None:
    A, W = normal(2, 8, seed=1), normal(3, 8, seed=2)
    x, u = normal(40, 6, 2, seed=3), normal(40, 6, 3, seed=4)
    u = u + x @ normal(2, 3, seed=5)  # u says where the point is, too
    h = x @ A + u @ W
    encoder = fit(torch.cat([u, x], -1), h, per_token=False, held=2)
    assert len(encoder.basis) == 3
    moved = encoder.replaced(h, torch.cat([u + 1, x], -1)) - h
    assert (moved - torch.ones(3, dtype=torch.float64) @ W).abs().max() < CLOSE
    # Mutation: left out, the place is moved along with u.
    alone = fit(u, h, per_token=False)
    assert (alone.replaced(h, u + 1) - h - torch.ones(3, dtype=torch.float64) @ W).abs().max() > 0.1


def test_a_constant_stream_has_no_encoder() -> None:
    encoder = fit(normal(10, 4, 3, seed=1), torch.ones(10, 4, 8), per_token=True)
    assert len(encoder.basis) == 0
    kept = normal(2, 4, 8, seed=2)
    assert (encoder.replaced(kept, normal(2, 4, 3, seed=3)) - kept).abs().max() < CLOSE
    assert math.isnan(encoder.explained(normal(2, 4, 3, seed=3), torch.ones(2, 4, 8)))


def test_ratios_of_known_numbers() -> None:
    size = torch.tensor([1.0, 2.0, 3.0])
    assert ratio(0.5 * size, size) == pytest.approx([0.5, 0.5, 0.5])
    moved = torch.tensor([1.0, 1.0, 1.0])
    # f = 1/2; residuals 1/2, 0, -1/2; error sqrt(1/2 * 3/2) / 6.
    half = 1.96 * math.sqrt(0.75) / 6
    assert ratio(moved, size) == pytest.approx([0.5, 0.5 - half, 0.5 + half])
    for wrong in (torch.zeros(3), torch.ones(1)):
        with pytest.raises(ValueError, match="needs two tasks and a positive size"):
            ratio(wrong, wrong)


def test_steps_are_those_of_the_reference_algorithm(tasks: AnsweredTasks) -> None:
    values = mixture_values(tasks.truth)
    assert torch.equal(em_from(tasks, values, 0), values)
    new, responsibilities, _ = em_step(tasks.X, tasks.truth)
    assert (em_from(tasks, values, 1) - mixture_values(new)).abs().max() < CLOSE
    means = m_step(tasks.X, responsibilities).means
    # Floors add at most N FLOOR of weight; components hold W_k >= 1 here, points lie within 20.
    assert responsibilities.sum(-1).min() > 1
    assert (weighted_means(tasks.X, point_values(tasks.X, tasks.truth)) - means).abs().max() < 40 * N * FLOOR
    back = to_mixture(mixture_values(tasks.truth))
    assert (back.weights - tasks.truth.weights).abs().max() < CLOSE
    kept = em_keeps(tasks, mixture_values(tasks.reference), mixture_values(tasks.reference).roll(1, 0))
    assert kept[0] == pytest.approx([1, 1, 1])
    assert all(value[0] < 1 for value in kept[1:])


# --- planted networks ----------------------------------------------------------------------------------


def reading_network() -> TGMM:
    """Layers that add nothing, no norm: the read-out takes d + 1 coordinates of each component token."""
    model = small_model()
    with torch.no_grad():
        for layer in layers_of(model):
            attention_of(layer).output.zero_()
            assert layer.mlp is not None
            layer.mlp.w2.zero_()
        head = model.heads["all"]
        head.weight.zero_()  # type: ignore[union-attr]
        head.bias.zero_()  # type: ignore[union-attr]
        head.weight[0, 0] = 1.0  # type: ignore[union-attr]
        for j in range(D):
            head.weight[1 + j, 1 + j] = 1 / model.config.data_scale  # type: ignore[union-attr]
    model.norm = AsIs()  # type: ignore[assignment]
    return model.requires_grad_(False)


def holding(model: TGMM, tasks: AnsweredTasks, noise: float) -> Recording:
    """A stream whose tokens hold (log pi, mu) of the reference; everything else is noise of this size."""
    states = noise * normal(3, len(tasks), K + N, 8, seed=2)
    values = mixture_values(tasks.reference)
    states[:, :, :K, 0] = values[..., D]
    states[:, :, :K, 1 : D + 1] = values[..., :D]
    return Recording(resume(model, tasks.X, K, 2, states[2]), states, N, K, False)


def bench_of(model: TGMM, fitted: AnsweredTasks, tasks: AnsweredTasks) -> Bench:
    return Bench(model, fitted, holding(model, fitted, 0.0), tasks, holding(model, tasks, 1.0), generator(0))


def test_a_patch_into_what_is_read_out_arrives_whole(fitted: AnsweredTasks, tasks: AnsweredTasks) -> None:
    bench = bench_of(reading_network(), fitted, tasks)
    own = estimate_values(bench.recording.estimate)
    assert (own[..., :D] - tasks.reference.means).abs().max() < CLOSE
    shifted = own + normal(*own.shape, seed=3)
    for layer in (1, 2):
        row = token_patches(bench, layer, own, shifted)
        assert row.shift == pytest.approx([1, 1, 1], abs=CLOSE)
        assert row.other == pytest.approx([1, 1, 1], abs=CLOSE)
        assert row.decoded_explained == pytest.approx(1, abs=CLOSE)
        assert max(map(abs, row.random)) < 0.9
        assert row.rank == D + 1
        stepped = em_from(tasks, own, 1)
        gained = errors(to_mixture(stepped), tasks.truth).total - errors(to_mixture(own), tasks.truth).total
        assert row.own == pytest.approx([0, 0, 0], abs=CLOSE)
        assert row.error.decoded == pytest.approx([0, 0, 0], abs=CLOSE)
        assert row.step_gain.value == pytest.approx(float(gained.mean()), abs=CLOSE)
        assert row.explained_chance < 0.5 * row.explained


def test_a_patch_into_what_nobody_reads_is_ignored(fitted: AnsweredTasks, tasks: AnsweredTasks) -> None:
    """Mutation: the read-out takes three coordinates that hold noise."""
    model = reading_network()
    bench = bench_of(model, fitted, tasks)
    own = estimate_values(bench.recording.estimate)
    head = model.heads["all"]
    head.weight.copy_(head.weight.roll(4, 1))  # type: ignore[union-attr]
    estimate = resume(model, tasks.X, K, 2, bench.recording.states[2])
    deaf = Bench(
        model,
        fitted,
        bench.fitted_record,
        tasks,
        Recording(estimate, bench.recording.states, N, K, False),
        generator(0),
    )
    row = token_patches(deaf, 2, own, own + normal(*own.shape, seed=3))
    assert row.shift == pytest.approx([0, 0, 0], abs=CLOSE)
    assert row.other == pytest.approx([0, 0, 0], abs=CLOSE)


def constructed_m_network() -> TGMM:
    """The constructed M step as the last layer of a network with component tokens, the read-out behind it.

    Stream: x (2), log r (3), slot (3), mean (2). Tokens hold their slot, and -1e3 for log r: unattended.
    """
    width = 2 * D + 2 * K
    model = small_model()
    layer = LayerShape(1, max(D, K), 0)
    model.backbone = Transformer(TransformerShape(width, (layer, layer)), torch.float64)
    x, u, slot, mean = (slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10))
    with torch.no_grad():
        for weight in model.backbone.parameters():
            weight.zero_()
        attention = attention_of(layers_of(model)[1])
        attention.query[0, slot] = torch.eye(3, dtype=torch.float64)
        attention.key[0, u] = torch.eye(3, dtype=torch.float64)
        attention.value[0, x, :D] = torch.eye(2, dtype=torch.float64)
        attention.output[0, :D, mean] = torch.eye(2, dtype=torch.float64)
        model.tokens["3"] = nn.Parameter(torch.zeros(K, width, dtype=torch.float64))
        model.readin = nn.Linear(D, width, dtype=torch.float64)
        model.embedding = nn.Parameter(torch.zeros(3, width, dtype=torch.float64))
        head = nn.Linear(width, 1 + D, dtype=torch.float64)
        head.weight.zero_()
        head.bias.zero_()
        head.weight[1:, mean] = torch.eye(2, dtype=torch.float64) / model.config.data_scale
        model.heads["all"] = head
    model.norm = AsIs()  # type: ignore[assignment]
    return model.requires_grad_(False)


def with_responsibilities(model: TGMM, tasks: AnsweredTasks) -> Recording:
    """Points hold x and the log responsibilities that EM's fixed point gives them."""
    states = torch.zeros(3, len(tasks), K + N, 10, dtype=torch.float64)
    states[:, :, K:, :2] = tasks.X
    states[:, :, K:, 2:5] = point_values(tasks.X, tasks.reference)
    states[:, :, :K, 2:5] = -1e3
    states[:, :, :K, 5:8] = torch.eye(K, dtype=torch.float64)
    states[2] = 0  # behind the M layer, which is run anew
    return Recording(resume(model, tasks.X, K, 1, states[1]), states, N, K, False)


def m_bench(model: TGMM, fitted: AnsweredTasks, tasks: AnsweredTasks) -> Bench:
    recordings = [with_responsibilities(model, part) for part in (fitted, tasks)]
    return Bench(model, fitted, recordings[0], tasks, recordings[1], generator(0))


def test_the_constructed_m_step_adopts_patched_responsibilities(
    fitted: AnsweredTasks, tasks: AnsweredTasks
) -> None:
    bench = m_bench(constructed_m_network(), fitted, tasks)
    assert (bench.recording.estimate.means - tasks.reference.means).abs().max() < 0.01  # at EM's fixed point
    own = mixture_values(tasks.reference)
    row = point_patches(bench, 1, own)
    assert row.other == pytest.approx([1, 1, 1], abs=CLOSE)
    assert row.own == pytest.approx([0, 0, 0], abs=CLOSE)
    assert row.explained == pytest.approx(1, abs=CLOSE)
    assert row.explained_place < 0.95
    assert row.explained_chance < 0.95
    assert abs(row.random.value) < 0.9
    # Mutation: behind the M layer nothing reads the points.
    assert point_patches(bench, 2, own).other == (0, 0, 0)


def test_an_m_step_that_does_not_read_responsibilities_adopts_nothing(
    fitted: AnsweredTasks, tasks: AnsweredTasks
) -> None:
    model = constructed_m_network()
    bench = m_bench(model, fitted, tasks)
    attention_of(layers_of(model)[1]).key.zero_()
    assert point_patches(bench, 1, mixture_values(tasks.reference)).other == pytest.approx(
        [0, 0, 0], abs=CLOSE
    )


def test_half_of_what_is_read_arrives_by_half(fitted: AnsweredTasks, tasks: AnsweredTasks) -> None:
    model = constructed_m_network()
    bench = m_bench(model, fitted, tasks)
    model.heads["all"].weight.mul_(0.5)  # type: ignore[union-attr,operator]
    row = point_patches(bench, 1, mixture_values(tasks.reference))
    assert row.other == pytest.approx([0.5, 0.5, 0.5], abs=CLOSE)


class Nameless:
    """In the place of a picture."""

    def __init__(self, name: str) -> None:
        self.name = name


# --- the part ------------------------------------------------------------------------------------------


def check_section(answer: CausalResult, tables: int, pictures: int) -> str:
    section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(answer)))))
    assert len(section.tables) == tables
    assert len(section.pictures) == pictures
    assert {picture.name for picture in section.pictures} <= set(PART.pictures)
    for table in section.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert not any("nan" in cell for row in table.rows for cell in row)
    return " ".join(section.paragraphs[:-1])  # the last says how


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """The part measures less: 6 tasks of 24 points, encoders from 32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal, "size_of", lambda subject: causal.Size(6, 32, 24))
        yield


@pytest.fixture(scope="module")
def answer(small: None) -> CausalResult:
    said: list[str] = []
    subject = subject_with(small_model())
    assert PART.refusal(subject) == ""
    found = PART.compute(subject, said.append)
    assert len(said) == PART.pieces(subject) == 5
    return found


def test_the_part_draws_from_its_json(answer: CausalResult) -> None:
    check_section(answer, 5, 3)


def test_the_finding_follows_the_numbers(answer: CausalResult, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = ("heads_figure", "agreement_figure", "patches_figure")
    for name in figures:  # seconds, and nothing is asked of them here
        monkeypatch.setattr(causal_report, name, lambda answer, regime, name: Nameless(name))
    regime = answer.regimes[0]
    own, control = regime.networks["learned"], regime.networks["untrained"].patched
    moved = own.moved | {
        "mean": HeadGrid([[0, 0], [0, 2]], [[0, 0], [0, 1.5]], [[0, 0], [0, 3]]),
        "rotated": HeadGrid(*[[[0.1, 0.1], [0.1, 1.0]]] * 3),
    }
    own = replace(own, moved=moved, agreement=own.agreement | {"M": Agreement(0.9, 0.2, 0.0001)})
    points, tokens = list(own.patched.points), list(own.patched.tokens)
    points[0] = replace(points[0], other=Interval(0.8, 0.7, 0.9), random=Interval(0.1, 0.0, 0.2))
    tokens[0] = replace(tokens[0], other=Interval(0.03, 0.02, 0.04), step_gain=Interval(-0.2, -0.3, -0.1))
    kept = own.patched.em.other
    em = replace(own.patched.em, other=[kept[0], Interval(0.5, 0.4, 0.6), *kept[2:]])
    own = replace(own, patches=replace(own.patched, points=points, tokens=tokens, em=em))
    others = [replace(control.points[0], other=Interval(0.0, -0.1, 0.1)), *control.points[1:]]
    other = replace(regime.networks["untrained"], patches=replace(control, points=others))
    networks = {"learned": own, "untrained": other}
    answer = replace(answer, regimes=[replace(regime, networks=networks)])
    said = check_section(answer, 5, 3)
    assert "is layer 2 head 2 (squared distance 2, the turned change 1); 1 of 4 heads move it" in said
    assert "are related, within a layer too, for tokens to points" in said
    assert "p inside layers 0.0001" in said
    assert "less than one EM step from it would keep (0.50 [0.40, 0.60])" in said
    assert "at most 0.80 [0.70, 0.90] arrives (after layer 1)" in said
    assert "the estimate follows what the points hold" in said
    assert "lower the final error after layer 1" in said
    points[0] = replace(points[0], random=Interval(0.75, 0.6, 0.9))
    tokens[0] = replace(tokens[0], other=Interval(0.45, 0.3, 0.6), step_gain=Interval(0.0, -0.1, 0.1))
    depth = {name: replace(value, p=0.0001, p_within=0.2) for name, value in own.agreement.items()}
    networks["learned"] = replace(own, agreement=depth)  # what depth alone makes
    said = check_section(answer, 5, 3)
    assert "cannot be told" in said
    assert "are related" not in said
    assert f"across layers as well {len(own.agreement)} of" in said
    assert "not less than one EM step from it would keep" in said
    assert "not told from its controls" in said
    assert "the estimate follows what the points hold" not in said


@pytest.mark.parametrize("options", [{"readout": "pooling"}, {"causal": True}], ids=str)
def test_the_part_runs_with_other_read_outs(options: dict) -> None:
    subject, said = subject_with(small_model(options)), []
    answer = PART.compute(subject, said.append)
    pooling = "readout" in options
    assert len(said) == PART.pieces(subject) == (3 if pooling else 5)
    first = check_section(answer, 2 if pooling else 5, 2 if pooling else 3)
    assert ("No component tokens: nothing is patched." in first) == pooling


def test_refusals() -> None:
    subject = subject_with(small_model(components=(1,)))
    assert "K = 1 alone" in PART.refusal(subject)
    object.__setattr__(subject.model.config, "backbone", "mamba2")
    assert "the backbone is 'mamba2'" in PART.refusal(subject)


def test_a_network_that_says_the_same_of_every_task_is_not_patched() -> None:
    model = small_model()
    with torch.no_grad():
        for weights in model.backbone.parameters():
            weights.zero_()
    with pytest.raises(ValueError, match="the same for every task"):
        PART.compute(subject_with(model), lambda name: None)
