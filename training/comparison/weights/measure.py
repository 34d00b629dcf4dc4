"""Part of the comparison: a network's weights modulo their symmetries, and the theorem's blocks in them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from constructions.language.shown import short_repr
from constructions.language.transformer import SelfAttention, Transformer
from training.comparison.common.component_counts import has_tasks, refusal_of_components
from training.comparison.common.parts import Start, Subject
from training.comparison.common.random_paths import Purpose
from training.comparison.symmetry.group import random_copy_model
from training.comparison.symmetry.model_alignment import (
    align_models,
    layer_cosines,
    plain_distance,
)
from training.comparison.symmetry.random_network import random_like
from training.comparison.weights import encoders as lens
from training.comparison.weights.encoder_pairs import moments, pair_sizes
from training.comparison.weights.encoder_verdicts import LABELS
from training.interpretability.circuit import transformer_of
from training.interpretability.recording import attention_maps, attention_of, layers_of, record
from training.model.balance import scale_units
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution, sample_tasks

COPIES = {True: 3, False: 10}
"""Random copies, by whether the run is quick."""
TASKS = {True: 128, False: 512}
"""Tasks for the encoders: half to fit, half to measure."""
SHUFFLES = {True: 2, False: 5}
"""Shufflings of the variables whose sizes a block must exceed; one more is judged like the network itself."""
POINTS = 64
NEAR_COMPONENTS = 3
"""The number of components served that is nearest to this one is looked at."""
STRETCH = 1.5
"""A GELU unit's two sides times and over this: no symmetry."""


@dataclass(frozen=True)
class DistanceRow:
    """Distances of a network from the learned one before and after alignment; cosine of the backbones."""

    before: float
    after: float
    by_kind: dict[str, float]
    cosine: float


@dataclass(frozen=True)
class Symmetries:
    """Of random copies; broken: of a copy that is none, where the units are such."""

    copies: list[DistanceRow]
    broken: DistanceRow | None


@dataclass(frozen=True)
class NoBlocks:
    """Why score blocks were not looked for."""

    missing: str


@dataclass(frozen=True)
class WeightsResult:
    """Distances, cosines of layers by network, and score blocks."""

    seed: int
    symmetries: Symmetries
    controls: dict[str, DistanceRow]
    layers: dict[str, list[list[float]]]
    blocks: lens.EncodedBlocks | NoBlocks

    __repr__ = short_repr


def compute(subject: Subject, start: Start) -> WeightsResult:
    """Distances (section i) and score blocks (section ii)."""
    start("weights: random copies")
    copies = _copies(subject)
    start("weights: controls and layers")
    others = {"untrained": subject.untrained, "random": _random(subject)}
    controls = {name: _row(subject.model, other) for name, other in others.items()}
    layers = _layers(subject)
    start("weights: blocks of the theorem")
    return WeightsResult(subject.effort.seed, copies, controls, layers, _blocks(subject))


def _copies(subject: Subject) -> Symmetries:
    """Distance to random copies before and after alignment; a copy that is none."""
    rows = []
    for number in range(COPIES[subject.effort.quick]):
        other = random_copy_model(subject.model, subject.generator(Purpose.WEIGHTS_COPY, number))
        rows.append(_row(subject.model, other))
    other = random_copy_model(subject.model, subject.generator(Purpose.WEIGHTS_BROKEN_COPY))
    mlp = layers_of(other)[0].mlp
    broken = None
    if mlp is not None and transformer_of(other).shape.activation == "gelu":
        scale_units(mlp, torch.full_like(mlp.b1, STRETCH))
        broken = _row(subject.model, other)
    return Symmetries(rows, broken)


def _row(model: TGMM, other: TGMM) -> DistanceRow:
    found = align_models(model, other)
    return DistanceRow(plain_distance(model, other), found.distance, found.by_kind, found.backbone.cosine)


def _random(subject: Subject) -> TGMM:
    """Random directions of the same sizes in place of the backbone; read-in and tokens are learned ones."""
    random = copy.deepcopy(subject.model).double()
    generator = subject.generator(Purpose.WEIGHTS_RANDOM_NETWORK)
    random.backbone = random_like(transformer_of(subject.model), generator)
    return random


def _layers(subject: Subject) -> dict[str, list[list[float]]]:
    """How alike the layers of a network are: in a loop of two layers, as in the theorem, every other one."""
    networks = {name: transformer_of(model) for name, model in subject.networks().items()}
    networks["random"] = random_like(networks["learned"], subject.generator(Purpose.WEIGHTS_RANDOM_LAYERS))
    return {name: layer_cosines(network) for name, network in networks.items()}


def _blocks(subject: Subject) -> lens.EncodedBlocks | NoBlocks:
    """Score blocks of the theorem through encoders: learned, untrained, and with variables of other tasks."""
    config = subject.model.config
    if config.readout != "tokens":
        return NoBlocks(f"the read-out is {config.readout!r}: there are no component tokens to attend to")
    served = [K for K in config.components if has_tasks(config.n_features, K)]
    if not served:
        return NoBlocks(refusal_of_components(config))
    K = min(served, key=lambda k: abs(k - NEAR_COMPONENTS))
    n_tasks, n_points = TASKS[subject.effort.quick], min(POINTS, config.max_positions or POINTS)
    distribution = TaskDistribution(config.n_features, components=(K,))
    generator = subject.generator(Purpose.WEIGHTS_TASKS)
    batch = sample_tasks(distribution, n_tasks, K, n_points, generator, dtype=torch.float64)
    estimate = record(subject.model, batch.X, K).estimate
    named = lens.named_variables(batch.X, estimate.log_weights.double(), estimate.means.double())
    learned, untrained = (_reads(model, batch.X, K) for model in (subject.model, subject.untrained))
    repeats = range(1 + SHUFFLES[subject.effort.quick])
    generators = [subject.generator(Purpose.WEIGHTS_SHUFFLED, number) for number in repeats]
    shuffled, *others = map(named.shuffled, generators)
    floors = _floors(learned, others)
    networks = {
        "learned": _network_blocks(learned, named),
        "untrained": _network_blocks(untrained, named),
        "shuffled": _network_blocks(learned, shuffled),
    }
    random = _network_blocks(_reads(_random(subject), batch.X, K), named)
    reads = {"learned": networks["learned"], "untrained": networks["untrained"], "random": random}
    return lens.EncodedBlocks(
        about=lens.EncoderTasks(K, config.n_features, n_points, n_tasks, n_tasks // 2, len(others)),
        floors={label: floors[label] for label in LABELS},
        pair_floors=floors,
        networks=networks,
        reads={name: _reading(layers) for name, layers in reads.items()},
    )


def _reading(layers: list[lens.LayerBlocks]) -> list[lens.LayerReading]:
    """Of the blocks of each layer, without the blocks."""
    return [
        lens.LayerReading([lens.Reading(head.mass, head.read_x) for head in layer.heads]) for layer in layers
    ]


@dataclass(frozen=True, eq=False)
class _Reads:
    """What the heads of every layer read at points (L, T, N, D) and component tokens (L, T, K, D).

    to_tokens, to_points  a layer each: (T, H, N, K) attention of points on tokens, (T, H, K, N) of tokens on
                          points, of the tasks that are not for fitting.
    """

    attentions: list[SelfAttention]
    points: torch.Tensor
    tokens: torch.Tensor
    to_tokens: list[torch.Tensor]
    to_points: list[torch.Tensor]

    @property
    def n_fit(self) -> int:
        """Tasks to fit encoders on, the first ones."""
        return self.points.shape[1] // 2


@torch.no_grad()
def _reads(model: TGMM, X: torch.Tensor, K: int) -> _Reads:
    recording = record(model, X, K)
    points, tokens = recording.point_places, recording.read_places
    layers = layers_of(model)
    h = torch.stack([layer.norm1(recording.states[place]) for place, layer in enumerate(layers)]).double()
    maps = [attention_maps(model, recording, place)[len(X) // 2 :].double() for place in range(len(layers))]
    return _Reads(
        [attention_of(layer) for layer in layers],
        h[:, :, points],
        h[:, :, tokens],
        [weights[:, :, points, tokens] for weights in maps],
        [weights[:, :, tokens, points] for weights in maps],
    )


@torch.no_grad()
def _floors(reads: _Reads, shuffled: list[lens.Named]) -> dict[str, float]:
    """The largest size that any head has with these variables, for every pair of them."""
    largest: dict[str, float] = {}
    for named in shuffled:
        encodings = lens.encode(reads.points, reads.tokens, named, reads.n_fit)
        found = moments(encodings[0].named)
        for attention, encoded in zip(reads.attentions, encodings, strict=True):
            for form in _score_forms(attention):
                for label, numbers in pair_sizes(encoded, found, form).items():
                    largest[label] = max(largest.get(label, 0.0), numbers.size)
    return largest


@torch.no_grad()
def _network_blocks(reads: _Reads, named: lens.Named) -> list[lens.LayerBlocks]:
    """One entry a layer: R^2 on the tasks not fitted, and every head's blocks."""
    encodings = lens.encode(reads.points, reads.tokens, named, reads.n_fit)
    found = moments(encodings[0].named)
    terms = lens.theorem_terms(encodings[0].named)
    layers = []
    for attention, encoded, to_tokens, to_points in zip(
        reads.attentions, encodings, reads.to_tokens, reads.to_points, strict=True
    ):
        values = attention.value.double() @ attention.output.double()
        heads = [
            lens.HeadBlocks(
                **vars(lens.head_blocks(encoded, form, terms)),
                mass={"E": _mass(to_tokens[:, head]), "M": _mass(to_points[:, head])},
                read_x=lens.read_of_x(encoded, to_points[:, head], values[head]),
                pairs=pair_sizes(encoded, found, form),
            )
            for head, form in enumerate(_score_forms(attention))
        ]
        layers.append(lens.LayerBlocks(*encoded.explained, heads))
    return layers


def _score_forms(attention: SelfAttention) -> torch.Tensor:
    """(H, D, D) A = c W_Q W_K^T in float64."""
    return attention.shape.score_scale * attention.query.double() @ attention.key.double().mT


def _mass(weights: torch.Tensor) -> float:
    return float(weights.sum(-1).mean())


def refusal(subject: Subject) -> str:
    """Why weights cannot be compared."""
    if not isinstance(subject.model.backbone, Transformer):
        return f"the backbone is {subject.model.config.backbone!r}: no heads or hidden units to match"
    return ""
