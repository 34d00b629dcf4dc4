"""Attention against responsibilities: planted heads, permutation test, constructed heads, the part."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_instances import small_model
from scipy.stats import kstest
from tiny_subjects import generator, normal, subject_with
from torch import Tensor

from baselines.em_steps import e_step
from baselines.mixture import Mixture
from console.typed_json import from_plain, to_plain
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.attention import PART
from training.comparison.attention import measure as attention
from training.comparison.attention import report as attention_report
from training.comparison.attention.measure import AttentionResult, HeadStatistic, against_chance
from training.comparison.attention.patterns import (
    all_scores,
    co_responsibility,
    constructed_patterns,
    patterns_of,
    point_patterns,
    token_patterns,
    uniformity,
)
from training.comparison.attention.row_correlation import (
    Moves,
    among_like,
    centred,
    correlation,
    permutation_test,
    residual,
)
from training.comparison.common.em_answers import (
    AnsweredTasks,
    components_of,
    draw_tasks,
    interval,
    responsibilities,
)
from training.interpretability.recording import attention_maps, record

U = unit_roundoff(torch.float64)


@pytest.fixture(scope="module")
def tasks() -> AnsweredTasks:
    return draw_tasks(subject_with(small_model()), 6, 3, 40, generator(1))


@pytest.fixture(scope="module")
def w(tasks: AnsweredTasks) -> Tensor:
    return responsibilities(tasks.X, tasks.reference)


def rho_of(scores: Tensor, tasks: AnsweredTasks, w: Tensor, name: str) -> Tensor:
    pattern = point_patterns(scores, tasks.X, w)[name]
    return correlation(pattern.heads, pattern.target[:, None]).mean(0)


def products(N: int) -> float:
    """Rounding of a correlation of N^2 numbers of size at most 1 after centring, to first order.

    Two centrings, one projection, three inner products: each of relative error gamma(N^2 + 4).
    """
    return 8 * gamma(N * N + 4, U)


def test_planted_heads_are_told_apart(tasks: AnsweredTasks, w: Tensor) -> None:
    """By responsibility; the same with constants added to rows; by distance; uniform; noise."""
    N = tasks.X.shape[1]
    c, distance = co_responsibility(w), torch.cdist(tasks.X, tasks.X).square()
    rows = 5 * normal(len(c), N, 1, seed=2)
    noise = normal(len(c), N, N, seed=3)
    scores = torch.stack([c, c + rows, -distance / 2, rows.expand_as(c), noise, c - distance / 2], 1)
    plain = rho_of(scores, tasks, w, "points")
    assert plain[:2].sub(1).abs().max() <= 12 * products(N)  # rows are up to 20 times as large as c
    assert 0.4 < plain[2] < 0.95  # distance looks like responsibility
    assert plain[3] == 0 or plain[3].abs() < 1e-6  # centring leaves the rounding of rows, no pattern
    out = rho_of(scores, tasks, w, "points, distance out")
    like = rho_of(scores, tasks, w, "points, like distance")
    assert out[0].sub(1).abs() <= products(N)
    # What is left of distance is rounding, in a random direction; distances are below 500.
    mask = ~torch.eye(N, dtype=torch.bool)
    assert residual(scores[:, 2], mask, -distance).abs().max() <= 500 * products(N)
    assert out[5] > 0.99  # the residual of c is what is left of both
    assert like[0].sub(1).abs() <= products(N)
    # A head of distance leaves rounding, one of another function of distance little; with c, c is left.
    assert among_like(scores[:, 2], mask, distance).abs().max() <= 500 * products(N)
    curved = point_patterns(-distance.sqrt()[:, None], tasks.X, w)["points, like distance"]
    assert correlation(curved.heads, curved.target[:, None]).mean().abs() < plain[2] / 5
    assert like[5] > 0.99
    # Noise: four deviations of a correlation over all rows; c is worth one number a point at least.
    for value in (plain[4], out[4], like[4]):
        assert value.abs() < 4 / math.sqrt(len(c) * N)


def test_attention_built_from_responsibilities_is_significant_and_uniform_attention_is_not(
    tasks: AnsweredTasks, w: Tensor
) -> None:
    c = co_responsibility(w)
    heads = torch.stack([(c + 1e-3).log(), torch.zeros_like(c), normal(*c.shape, seed=5)], 1)
    found = against_chance(point_patterns(heads, tasks.X, w), 199, generator(0), (1, 3))["points"]
    assert found.mean[0][0] > 0.9
    assert found.p[0][:2] == [1 / 200, 1.0]
    assert found.mean[0][1] == 0
    assert found.p[0][2] > 0.05
    assert found.threshold < 0.1


def test_permuted_responsibilities_are_not_recognised(tasks: AnsweredTasks, w: Tensor) -> None:
    """Mutation: the same head against responsibilities that belong to other points."""
    heads = (co_responsibility(w) + 1e-3).log()[:, None]
    order = torch.stack([torch.randperm(w.shape[1], generator=generator(i)) for i in range(len(w))])
    others = w.gather(1, order[:, :, None].expand_as(w))
    right, wrong = (
        against_chance(point_patterns(heads, tasks.X, v), 99, generator(0), (1, 1)) for v in (w, others)
    )
    for name in right:
        assert right[name].p == [[1 / 100]]
        assert right[name].mean[0][0] > 5 * abs(wrong[name].mean[0][0])
    assert wrong["points"].p[0][0] > 0.05


def random_pattern(moves: Moves, causal: bool, heads: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and a target of the same structure, made of features that know nothing of one another."""
    B, N, K = 2, 10, 3
    u, v = normal(B, heads, N, 2, seed=2 * seed), normal(B, N, 2, seed=2 * seed + 1)
    if moves == "both":
        mask = ~torch.eye(N, dtype=torch.bool)
        allowed = mask.tril() if causal else mask
        return centred(u @ u.mT, allowed), centred(v @ v.mT, mask), allowed
    fixed = normal(2, K, seed=77)
    R, C, mask = u @ fixed, v @ fixed, torch.ones(N, K, dtype=torch.bool)
    if moves == "columns":
        R, C, mask = R.mT, C.mT, mask.mT
    return centred(R, mask), centred(C, mask), mask


@pytest.mark.parametrize(
    ("moves", "causal"), [("both", False), ("both", True), ("rows", False), ("columns", False)]
)
def test_p_values_are_uniform_when_there_is_nothing(moves: Moves, causal: bool) -> None:
    """(number of null values as extreme + uniform) / (P + 1) is exactly uniform for exchangeable data."""
    P, runs = 19, 150
    jitter = torch.rand(runs, 2, generator=generator(9), dtype=torch.float64)
    values = []
    for seed in range(runs):
        R, C, mask = random_pattern(moves, causal, 3, seed)
        test = permutation_test(R, C, mask, moves, P, generator(1000 + seed))
        values.append(torch.stack([test.p[0], test.p_largest.min()]))
    p = torch.stack(values).double() - jitter / (P + 1)
    # p of one head, and the smallest corrected p of three, which is that of the largest of all.
    for column in p.T:
        assert kstest(column.numpy(), "uniform").pvalue > 0.01


def test_p_values_that_leave_out_the_correction_are_caught() -> None:
    """Mutation: the smallest uncorrected p of three heads is not uniform."""
    runs, P = 150, 19
    smallest = []
    for seed in range(runs):
        R, C, mask = random_pattern("columns", False, 3, seed)
        smallest.append(permutation_test(R, C, mask, "columns", P, generator(1000 + seed)).p.min())
    jitter = torch.rand(runs, generator=generator(9), dtype=torch.float64)
    assert kstest((torch.stack(smallest).double() - jitter / (P + 1)).numpy(), "uniform").pvalue < 1e-3


def naive(score: Tensor, c: Tensor, order: Tensor) -> float:
    """rho of one task with its points permuted, by loops."""
    N, num, a, b = len(c), 0.0, 0.0, 0.0
    moved = c[order][:, order]
    for i in range(N):
        others = [j for j in range(N) if j != i]
        s, t = score[i, others] - score[i, others].mean(), moved[i, others] - moved[i, others].mean()
        num, a, b = num + float(s @ t), a + float(s @ s), b + float(t @ t)
    return num / math.sqrt(a * b)


def test_null_values_are_those_of_permuted_matrices() -> None:
    N, P = 9, 4
    score, c = normal(1, 1, N, N, seed=1), normal(1, N, 3, seed=2)
    c = c @ c.mT
    mask = ~torch.eye(N, dtype=torch.bool)
    test = permutation_test(centred(score, mask), centred(c, mask), mask, "both", P, generator(4))
    orders = torch.rand(P, N, generator=generator(4)).argsort(1)
    for value, order in zip(test.null[:, 0], orders, strict=True):
        assert abs(float(value) - naive(score[0, 0], c[0], order)) <= products(N)
    assert abs(float(test.observed) - naive(score[0, 0], c[0], torch.arange(N))) <= products(N)
    flat = permutation_test(torch.zeros(1, 1, N, N), centred(c, mask).float(), mask, "both", P, generator(4))
    assert flat.p.tolist() == flat.p_largest.tolist() == [1.0]  # as far from 0 as chance, which is not at all
    with pytest.raises(ValueError, match="permutations is 0, needs at least 1"):
        permutation_test(centred(score, mask), centred(c, mask), mask, "both", 0, generator(4))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20), st.booleans(), st.floats(0.1, 10), st.floats(-10, 10))
def test_statistics_do_not_see_row_constants_or_scale(
    seed: int, N: int, causal: bool, scale: float, shift: float
) -> None:
    mask = ~torch.eye(N, dtype=torch.bool)
    mask = mask.tril() if causal else mask
    s, distance = normal(1, N, N, seed=seed), normal(1, N, N, seed=seed + 1).square()
    t = scale * s + shift * normal(1, N, 1, seed=seed + 2)
    reductions: list[Callable[[Tensor], Tensor]] = [
        lambda v: centred(v, mask),
        lambda v: residual(v, mask, distance),
        lambda v: among_like(v, mask, distance),
    ]
    for reduce in reductions:
        a, b = reduce(s), reduce(t)
        # Centring and projecting: relative to the largest number that goes in.
        size = float(t.abs().max()) + scale * float(s.abs().max())
        assert (scale * a - b).abs().max() <= 8 * gamma(N * N + 4, U) * size * N
        assert bool((a[:, ~mask] == 0).all())
        assert a.sum(-1).abs().max() <= 8 * gamma(N * N + 4, U) * size * N


def test_neighbours_of_like_distance_are_compared_with_one_another_alone() -> None:
    """What is the same in a group, or linear in distance there, vanishes; the rest of the group stays."""
    N, size = 17, 4
    mask = ~torch.eye(N, dtype=torch.bool)
    distance = torch.stack([torch.randperm(N, generator=generator(i)) for i in range(N)]).double()
    rank = distance.masked_fill(~mask, torch.inf).argsort(-1).argsort(-1)
    group, place = rank // size, rank % size
    slopes = normal(N, 5, seed=3).gather(1, group)
    bent = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)[place]
    left = among_like((10 * group + slopes * distance)[None], mask, distance[None], size)[0]
    assert left.abs().max() <= 60 * 8 * gamma(4 * size, U)  # of numbers up to 60
    # Ranks are distances but for the point itself: even groups keep a curve that no line explains.
    even = (distance == rank) & mask
    kept = among_like(bent[None], mask, rank[None].double(), size)[0]
    assert even.sum() > N
    assert (kept - bent)[mask].abs().max() <= 8 * gamma(4 * size, U)
    assert bool((kept[~mask] == 0).all())


def test_the_constructed_heads_are_recognised(tasks: AnsweredTasks, w: Tensor) -> None:
    patterns, even = constructed_patterns(tasks)
    found = against_chance(patterns, 99, generator(0), (1, 3))
    E, M = found["E"], found["M"]
    assert E.p[0][0] == 0.01
    assert E.p[0][2] == 1.0
    assert M.p[0][1] == 0.01
    assert M.p[0][2] == 1.0
    assert E.mean[0][0] > max(0.5, 5 * max(map(abs, E.mean[0][1:])))
    assert M.mean[0][1] > max(0.5, 5 * max(abs(M.mean[0][0]), abs(M.mean[0][2])))
    # N exponentials within two ulp, their sum, N products with logs: 1 for the head of the weights alone.
    N = tasks.X.shape[1]
    assert (even[:, 2] - 1).abs().max() <= 4 * gamma(4 * N, U) + 2.0**-23
    assert even[:, :2].max() < 0.95
    # The statistic of the E head is that of the logs of responsibilities: scores, slots and counts agree.
    mask = torch.ones(N, 3, dtype=torch.bool)
    exact = correlation(centred(e_step(tasks.X, tasks.reference)[0].mT.log(), mask), centred(w, mask))
    # Scores are kept in float32: sizes below 200, 3 N of them.
    assert (correlation(patterns["E"].heads[:, 0], patterns["E"].target) - exact).abs().max() < 1e-4


def test_a_construction_without_its_counts_is_caught(tasks: AnsweredTasks, w: Tensor) -> None:
    """Mutation: exact logs of responsibilities recognise, those of slots put in another order do not."""
    logs = e_step(tasks.X, tasks.reference)[0].mT.log()
    means = tasks.reference.means
    turned = logs.roll(1, -1)
    right, wrong = (
        against_chance(token_patterns(v[:, None], v.mT[:, None], tasks.X, w, means), 99, generator(0), (1, 1))
        for v in (logs, turned)
    )
    for name in ("E", "M"):
        assert right[name].mean[0][0] > 0.6
        assert wrong[name].mean[0][0] < 0


def test_evenness_is_one_for_uniform_and_zero_for_one_point() -> None:
    flat, sharp = torch.zeros(2, 3, 16), torch.full((2, 3, 16), -1e4)
    sharp[..., 5] = 0
    assert (uniformity(flat) - 1).abs().max() <= 4 * gamma(64, U)
    assert uniformity(sharp).abs().max() == 0
    gone = torch.full((1, 1, 16), -1e5)  # all attention elsewhere: what little is left here is still even
    assert (uniformity(gone) - 1).abs().max() <= 4 * gamma(64, U)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"points", "E", "M"}),
        ({"task_embedding": False}, {"points", "E", "M"}),
        ({"causal": True}, {"points", "M"}),
        ({"readout": "pooling"}, {"points"}),
        ({"readout": "pooling", "causal": True}, {"points"}),
    ],
    ids=["tokens", "no embedding", "causal", "pooling", "pooling causal"],
)
@torch.no_grad()
def test_patterns_are_cut_from_the_attention_of_every_variant(
    options: dict, names: set[str], tasks: AnsweredTasks
) -> None:
    model = small_model(options)
    recording = record(model, tasks.X, 3)
    found = patterns_of(model, recording, tasks)
    assert {name.split(",")[0] for name in found} == names
    assert {pattern.heads.shape[1] for pattern in found.values()} == {4}
    where = recording.point_places
    log_attention = attention_maps(model, recording, 1)[:, :, where, where].log()
    mask = found["points"].mask
    inside = torch.where(mask, log_attention, 0.0)
    # Scores below 50 in size: softmax, log and centring lose some ulp of them.
    assert (centred(inside, mask) - found["points"].heads[:, 2:]).abs().max() < 1e4 * U
    if "M" in names:
        rows = recording.token_places
        read = attention_maps(model, recording, 1)[:, :, rows, where].log()
        whole = torch.ones(3, where.stop - where.start, dtype=torch.bool)
        assert (centred(read, whole) - found["M"].heads[:, 2:]).abs().max() < 1e4 * U
    assert all_scores(model, recording).shape[1] == 4


@torch.no_grad()
def test_component_tokens_that_are_not_read_out_are_left_out() -> None:
    """Without task embedding there are three tokens for K = 2, too."""
    model = small_model({"task_embedding": False})
    two = draw_tasks(subject_with(model), 3, 2, 20, generator(3))
    recording = record(model, two.X, 2)
    assert recording.n_tokens == 3
    found = patterns_of(model, recording, two)
    assert found["E"].heads.shape == (3, 4, 20, 2)
    assert found["M"].heads.shape == (3, 4, 2, 20)


def test_the_reference_stands_in_the_order_of_the_network(tasks: AnsweredTasks) -> None:
    order = torch.tensor([2, 0, 1])
    turned = tasks.reference.permute(order.expand(len(tasks), 3))

    class Says:
        """An estimate that is the reference in another order."""

        @staticmethod
        def to_mixture() -> Mixture:
            return Mixture(turned.weights, turned.means + 0.01)

    found = tasks.in_order_of(Says())  # type: ignore[arg-type]
    assert torch.equal(found.means, turned.means)
    assert torch.equal(found.weights, turned.weights)


def test_references_do_not_move_under_another_step(tasks: AnsweredTasks) -> None:
    w = responsibilities(tasks.X, tasks.reference)
    assert (w.sum(-1) - 1).abs().max() <= 20 * U
    means = w.mT @ tasks.X / w.sum(1)[..., None]
    # The likelihood per point moves by at most 1e-8 a step: N / 2 |move|^2 W_k <= N 1e-8, W_k >= 2 of 40.
    assert (means - tasks.reference.means).abs().max() < math.sqrt(2e-8 * 40 / 2) * 2


def test_intervals_are_students() -> None:
    mean, low, high = interval(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    half = 3.182446305 * math.sqrt(5 / 3) / 2  # t quantile of three degrees of freedom, tables
    assert [float(mean), float(low), float(high)] == pytest.approx([2.5, 2.5 - half, 2.5 + half], rel=1e-6)
    with pytest.raises(ValueError, match="an interval over 1 tasks, needs at least 2"):
        interval(torch.ones(1))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """The part measures less: 4 tasks of 24 points, 49 permutations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "size_of", lambda subject: attention.Size(4, 24, 49))
        yield


@pytest.fixture(scope="module")
def answer(small: None) -> AttentionResult:
    said: list[str] = []
    subject = subject_with(small_model())
    found = PART.compute(subject, said.append)
    assert len(said) == PART.pieces(subject) == 3
    return found


def check_section(answer: AttentionResult) -> None:
    section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(answer)))))
    assert {picture.name for picture in section.pictures} <= set(PART.pictures)
    assert len(section.pictures) == 2
    for table in section.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert not any("nan" in cell for row in table.rows for cell in row)


def test_the_part_draws_from_its_json(answer: AttentionResult) -> None:
    check_section(answer)


@pytest.mark.parametrize("options", [{"readout": "pooling"}, {"causal": True}], ids=str)
def test_the_part_repeats_and_runs_with_other_read_outs(options: dict) -> None:
    subject = subject_with(small_model(options))
    assert PART.refusal(subject) == ""
    found = PART.compute(subject, lambda name: None)
    check_section(found)
    if "readout" in options:
        assert PART.compute(subject, lambda name: None) == found


def test_the_finding_follows_the_numbers(answer: AttentionResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control in the place of the learned network: no head stands above it; a planted one does."""
    for name in ("heads_figure", "example_figure"):  # seconds, and nothing is asked of them here
        monkeypatch.setattr(attention_report, name, lambda *_: None)
    regime = answer.regimes[0]
    networks = {
        "learned": dict(regime.networks["untrained"]),
        "untrained": dict(regime.networks["untrained"]),
    }
    alone = dict(regime.distance)
    answer = replace(answer, regimes=[replace(regime, networks=networks, distance=alone)])
    first = PART.render(answer).paragraphs[1]
    assert first.count("no head lies above the strongest") == first.count("strongest learned") == 6
    networks["learned"]["M"] = HeadStatistic(
        [[0.95, 0.0]] * 2, [[0.9, -0.1]] * 2, [[1.0, 0.1]] * 2, [[0.005, 1.0]] * 2, 0.1
    )
    networks["untrained"]["M"] = replace(
        networks["untrained"]["M"], mean=[[0.4, 0.3]] * 2, high=[[0.5, 0.5]] * 2
    )
    alone["M"] = replace(alone["M"], mean=[[0.4, 0.3]], high=[[0.5, 0.5]])
    first = PART.render(answer).paragraphs[1]
    assert "strongest learned head 0.95 [0.90, 1.00] (layer 1, head 1), untrained" in first
    assert "2 of 4 heads lie above the strongest untrained head and above distance alone" in first
    summary = PART.render(answer).paragraphs[0]
    assert "Heads, of 4," in summary
    assert "tokens to points ~ w_ik / sum_i w_ik (M layer): 2 at K = 3" in summary
    assert "points to points ~ c_ij: 0 at K = 3" in summary
    # As strong as either: the higher of the two decides.
    alone["M"] = replace(alone["M"], high=[[0.5, 0.92]], mean=[[0.4, 0.91]])
    assert "2 of 4 heads lie" not in PART.render(answer).paragraphs[1]
    networks["learned"]["points"] = replace(networks["learned"]["points"], low=[[0.99, 0.99]] * 2)
    assert (
        "4 of 4 heads lie above the strongest untrained head and above distance alone"
        in (PART.render(answer).paragraphs[1])
    )
    alone["points"] = replace(alone["points"], high=[[0.995, 0.995]])
    assert "4 of 4" not in PART.render(answer).paragraphs[1]


def test_refusals_and_which_components() -> None:
    one = subject_with(small_model(components=(1,)))
    assert "K = 1 alone" in PART.refusal(one)
    object.__setattr__(one.model.config, "backbone", "mamba2")
    assert "the backbone is 'mamba2'" in PART.refusal(one)
    for components, quick, chosen in (
        ((1, 2, 3), True, [3]),
        ((1, 2, 3), False, [3]),
        ((2, 3, 4, 5), False, [3, 5]),
        ((2, 3, 4, 5), True, [3]),
        ((1, 4, 6), False, [4, 6]),
        ((2,), False, [2]),
    ):
        subject = subject_with(small_model(components=components), quick)
        assert components_of(subject) == chosen
