"""EM's score blocks planted in a stream without names are found; the section says what the numbers say."""

import copy
import json
import math
from dataclasses import astuple, replace

import pytest
import torch
from model_instances import small_model
from transformer_instances import generator

from console.typed_json import from_plain, to_plain
from training.comparison.common.parts import Effort, subject_of
from training.comparison.weights import PART
from training.comparison.weights import measure as weight_space
from training.comparison.weights.encoder_pairs import largest_beyond, moments, pair_sizes
from training.comparison.weights.encoder_verdicts import LABELS, judge
from training.comparison.weights.encoders import (
    BlockName,
    EncodedBlocks,
    EncoderTasks,
    HeadBlocks,
    LayerBlocks,
    PairSize,
    ReadOfX,
    Sizes,
    block_sizes,
    encode,
    fit_encoders,
    head_blocks,
    named_variables,
    read_of_x,
    root_mean,
    theorem_terms,
)
from training.comparison.weights.measure import WeightsResult
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.loading import Released

T, N, K, D, WIDTH = 120, 12, 3, 2, 24


def drawn(*shape, seed):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def named():
    log_weights = drawn(T, K, seed=1).log_softmax(-1)
    return named_variables(2 * drawn(T, N, D, seed=2), log_weights, 2 * drawn(T, K, D, seed=3))


def streams(named, noise=0.0):
    """One layer's points (1, T, N, WIDTH) and tokens, every variable in directions of its own, and these."""
    sizes = [v.shape[-1] for v in (*named.points.values(), *named.tokens.values())]
    directions = iter(torch.linalg.qr(drawn(WIDTH, WIDTH, seed=4))[0].split([*sizes, WIDTH - sum(sizes)]))
    points = {name: next(directions) for name in named.points}
    tokens = {name: next(directions) for name in named.tokens}
    h = [
        sum(values[name] @ places[name] for name in values)
        for values, places in ((named.points, points), (named.tokens, tokens))
    ]
    h = [(part + noise * drawn(*part.shape, seed=5))[None] for part in h]
    return *h, points, tokens


def e_form(points, tokens):
    """A of EM's E step on these directions."""
    one = points["one"].T
    return points["x"].T @ tokens["mu"] + one @ tokens["log_pi"] - one @ tokens["half_norm2"]


def test_planted_blocks_of_the_e_step_are_found_with_their_strength(named):
    h, t, points, tokens = streams(named)
    [encoded] = encode(h, t, named, T // 2)
    found = head_blocks(encoded, 2.0 * e_form(points, tokens), theorem_terms(encoded.named)).blocks
    for label in ("E x mu", "E one log_pi", "E one half_norm2"):
        assert found[label].cosine == pytest.approx(1, abs=1e-9)
        assert found[label].coefficient == pytest.approx(2, rel=1e-9)
    assert max(found["M e log_resp"].size, found["M mu x"].size) < 1e-9


def test_a_planted_m_step_is_found_and_its_transpose_is_not(named):
    """Tokens attend by e_k and log r_i: a form with the roles of query and key exchanged is not that."""
    h, t, points, tokens = streams(named)
    [encoded] = encode(h, t, named, T // 2)
    terms = theorem_terms(encoded.named)
    form = tokens["e"].T @ points["log_resp"]
    found = head_blocks(encoded, form, terms).blocks["M e log_resp"]
    assert found.cosine == pytest.approx(1, abs=1e-9)
    assert found.size > 1
    assert head_blocks(encoded, form.T, terms).blocks["M e log_resp"].size < 1e-9


def test_variables_of_other_tasks_leave_nothing(named):
    h, t, points, tokens = streams(named, noise=0.1)
    form = e_form(points, tokens)
    own, other = (encode(h, t, n, T // 2)[0] for n in (named, named.shuffled(generator(6))))
    sizes = [head_blocks(e, form, theorem_terms(e.named)).blocks["E x mu"].size for e in (own, other)]
    assert sizes[1] < 0.2 * sizes[0]
    assert own.explained[0] > 0.9
    assert other.explained[0] < 0.1


def test_a_shuffle_moves_every_task(named):
    moved = named.shuffled(generator(7))
    same = (moved.points["x"] == named.points["x"]).flatten(1).all(1)
    assert not bool(same.any())
    assert torch.equal(
        moved.points["x"].sum((1, 2)).sort().values, named.points["x"].sum((1, 2)).sort().values
    )


def test_encoders_recover_what_was_planted(named):
    h, _, points, _ = streams(named)
    [found] = fit_encoders(named.points, h)
    assert torch.allclose(found["x"], points["x"], atol=1e-9)


def test_sizes_do_not_see_what_softmax_does_not_see(named):
    term = theorem_terms(named)[BlockName("E", "x", "mu")]
    plain, shifted = block_sizes(term, term), block_sizes(term + drawn(T, N, 1, seed=8), term)
    assert plain.coefficient == pytest.approx(1, rel=1e-12)
    assert astuple(shifted) == pytest.approx(astuple(plain), rel=1e-9)
    assert plain.size == pytest.approx(float(term.var(-1, unbiased=False).mean().sqrt()), rel=1e-12)
    nothing = block_sizes(torch.zeros_like(term), term)
    assert (nothing.size, nothing.coefficient) == (0, 0)


def test_the_interval_of_a_root_is_by_its_slope():
    """1 and 3 have the mean 2, off by 1.96 at 95 %; its root moves by 1 / (2 sqrt 2) of that."""
    size, half_width = root_mean(torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert size == pytest.approx(2**0.5)
    assert half_width == pytest.approx(1.96 / (2 * 2**0.5))


def test_x_read_by_a_head_is_told_from_another_block_read(named):
    h, t, points, _ = streams(named)
    [encoded] = encode(h, t, named, T // 2)
    attention = drawn(T - T // 2, K, N, seed=9).softmax(-1)
    x, other = points["x"].T @ drawn(D, WIDTH, seed=10), points["half_square"].T @ drawn(1, WIDTH, seed=11)
    assert read_of_x(encoded, attention, x).share == pytest.approx(1, abs=1e-9)
    assert abs(read_of_x(encoded, attention, other).share) < 1e-9


def test_sizes_of_pairs_are_those_of_their_scores(named):
    h, t, points, tokens = streams(named, noise=0.1)
    [encoded] = encode(h, t, named, T // 2)
    form = e_form(points, tokens) + drawn(WIDTH, WIDTH, seed=12)
    found = pair_sizes(encoded, moments(encoded.named), form)
    assert len(found) == 2 * 4 * 4
    blocks = head_blocks(encoded, form, theorem_terms(encoded.named))
    for label in LABELS:
        assert found[label].size == pytest.approx(blocks.blocks[label].size, rel=1e-9)
        assert found[label].half_width == pytest.approx(blocks.blocks[label].half_width, rel=1e-9)


def one_head(blocks, pairs, score, mass):
    """A network of one head."""
    masses = {"E": mass, "M": mass}
    head = HeadBlocks(masses, ReadOfX(0.5, 0.5), blocks, score_e=score, score_m=score, pairs=pairs)
    return [LayerBlocks(1.0, 1.0, [head])]


def encoded_blocks(networks, floors, pair_floors):
    return EncodedBlocks(EncoderTasks(3, 2, 12, 120, 60, 2), floors, pair_floors, networks, {})


PAIRS = ("M e x", "E x mu", "E one e", "M mu x")


def pairs(size, mass=0.5):
    """Networks of one head in which only <e_k, x> and EM's <x, mu> have a size."""
    rows = {label: PairSize(0.0 if label == "M mu x" else size, 0.1) for label in PAIRS}
    return one_head({}, rows, 4.0, mass)


@pytest.mark.parametrize(
    ("learned", "untrained", "shuffled", "mass", "found"),
    [
        (3.0, 1.0, 1.0, 0.5, ["e_k x"]),
        (3.0, 2.95, 1.0, 0.5, []),
        (3.0, 1.0, 2.95, 0.5, []),
        (3.0, 1.0, 1.0, 0.01, []),
        (0.3, 0.0, 0.0, 0.5, []),
    ],
)
def test_blocks_beyond_em_exceed_both_controls(learned, untrained, shuffled, mass, found):
    """The last is less than a tenth of the score; EM's own block and a fixed preference are never listed."""
    networks = {"learned": pairs(learned, mass), "untrained": pairs(untrained)}
    rows = largest_beyond(encoded_blocks(networks, {}, dict.fromkeys(PAIRS, shuffled)))
    assert [f"{row.query} {row.key}" for row in rows] == found


def judged(mass=0.5, **changes):
    """One head with numbers that pass, changed."""
    numbers = {"size": 1.0, "half_width": 0.1, "cosine": 0.9, "coefficient": 0.8} | changes
    row, control = Sizes(**numbers), Sizes(0.2, 0.0, 0.9, 0.8)
    networks = {
        "learned": one_head(dict.fromkeys(LABELS, row), {}, 2.0, mass),
        "untrained": one_head(dict.fromkeys(LABELS, control), {}, 2.0, mass),
    }
    return judge(encoded_blocks(networks, dict.fromkeys(LABELS, 0.5), {}), "learned").verdict


@pytest.mark.parametrize(
    ("changes", "theorem", "beyond"),
    [
        ({}, "has", "in addition"),
        ({"coefficient": 0.2}, "weak", "in addition"),
        ({"cosine": 0.4}, "lacks", "neither"),
        ({"cosine": -0.9}, "lacks", "neither"),
        ({"cosine": math.nan}, "lacks", "neither"),
        ({"size": 0.55}, "lacks", "neither"),
        ({"mass": 0.01}, "lacks", "neither"),
    ],
)
def test_verdicts(changes, theorem, beyond):
    found = judged(**changes)
    assert found["E x mu"] == theorem
    assert found["M mu x"] == beyond


def subject(monkeypatch, model):
    monkeypatch.setattr(weight_space, "COPIES", {True: 2})
    monkeypatch.setattr(weight_space, "TASKS", {True: 40})
    return subject_of(Released("small", model.requires_grad_(False).eval(), "", {}), Effort(True, 3, 8))


def computed(monkeypatch, model):
    started = []
    part_subject = subject(monkeypatch, model)
    found = PART.compute(part_subject, started.append)
    assert len(started) == PART.pieces(part_subject)
    return from_plain(WeightsResult, json.loads(json.dumps(to_plain(found))))


def test_the_section_of_a_network(monkeypatch):
    found = computed(monkeypatch, small_model(seed=9))
    section = PART.render(found)
    assert max(row.after for row in found.symmetries.copies) <= 1e-10
    assert min(row.before for row in found.symmetries.copies) > 0.1
    assert found.symmetries.broken.after > 1e-3
    assert "as it must be" in section.paragraphs[0]
    assert not any("start of this very training" in text for text in section.paragraphs)
    assert {picture.name for picture in section.pictures} == set(PART.pictures)
    distances, blocks, beyond = section.tables
    assert [row[0].split()[0] for row in distances.rows] == ["copy", "control:", "control:", "control:"]
    assert len(blocks.rows) == len(LABELS)
    assert beyond.title == "Score blocks beyond EM"


def test_what_heads_read_has_controls_that_differ(monkeypatch):
    """Each by its own attention: that of the learned network with other variables would be the same again."""
    reads = computed(monkeypatch, small_model(seed=9)).blocks.reads
    assert list(reads) == ["learned", "untrained", "random"]
    for value in (
        lambda head: head.mass["E"],
        lambda head: head.mass["M"],
        lambda head: head.read_x.share,
    ):
        rows = [[value(head) for layer in layers for head in layer.heads] for layers in reads.values()]
        for other in rows[1:]:
            assert all(abs(a - b) > 1e-4 for a, b in zip(rows[0], other, strict=True))


def test_a_failed_alignment_and_a_common_start_are_said(monkeypatch):
    """The network is its own control but for one number."""
    model = copy.deepcopy(
        subject(monkeypatch, TGMM(ModelConfig(2, (2, 3), layers=2, heads=2, width=8))).untrained
    )
    with torch.no_grad():
        model.norm.weight[0] += 0.5
    found = computed(monkeypatch, model)
    assert any("start of this very training" in text for text in PART.render(found).paragraphs)
    copies = [replace(found.symmetries.copies[0], after=1e-3), *found.symmetries.copies[1:]]
    broken = replace(found, symmetries=replace(found.symmetries, copies=copies))
    assert "the alignment fails here" in PART.render(broken).paragraphs[0]


def test_a_network_without_component_tokens_says_what_is_missing(monkeypatch):
    found = computed(monkeypatch, small_model({"readout": "pooling"}))
    section = PART.render(found)
    assert any("no component tokens" in text for text in section.paragraphs)
    assert [picture.name for picture in section.pictures] == [PART.pictures[0]]


def test_another_backbone_is_refused(monkeypatch):
    part_subject = subject(monkeypatch, small_model())
    assert PART.refusal(part_subject) == ""
    part_subject.model.backbone = torch.nn.Identity()
    assert "no heads" in PART.refusal(part_subject)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(1, (1,), layers=1, heads=1, width=4),
        ModelConfig(1, (2, 3), layers=1, heads=2, width=8, causal=True, max_positions=16),
        ModelConfig(3, (2, 5), layers=1, heads=2, width=8, task_embedding=False, covariance="diagonal"),
    ],
)
def test_networks_of_every_kind_get_a_section(monkeypatch, config):
    torch.manual_seed(1)
    section = PART.render(computed(monkeypatch, TGMM(config, dtype=torch.float64)))
    assert len(section.tables) == 3


def test_one_dimension_with_three_components_is_said_to_be_missing(monkeypatch):
    torch.manual_seed(1)
    found = computed(monkeypatch, TGMM(ModelConfig(1, (3,), layers=1, heads=2, width=8)))
    assert "one dimension" in found.blocks.missing


def test_components_that_cannot_be_drawn_are_not_looked_at(monkeypatch):
    torch.manual_seed(1)
    found = computed(monkeypatch, TGMM(ModelConfig(2, (8,), layers=1, heads=2, width=8)))
    assert "rejection finds no such means" in found.blocks.missing
    found = computed(monkeypatch, TGMM(ModelConfig(2, (1, 8), layers=1, heads=2, width=8)))
    assert found.blocks.about.K == 1


def test_a_network_without_a_finite_estimate_has_no_blocks(monkeypatch):
    model = small_model()
    with torch.no_grad():
        model.readin.weight.mul_(1e300)
    with pytest.raises(ValueError, match="estimate of a task is not finite"):
        computed(monkeypatch, model)
