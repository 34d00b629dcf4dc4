"""Part of the comparison: a network's weights modulo their symmetries, and the theorem's blocks in them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch

from constructions.language.transformer import SelfAttention, Transformer
from training.comparison.common.component_counts import has_tasks, refusal_of_components
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.recording import attention_maps, attention_of, layers_of, record
from training.comparison.symmetry.group import random_copy_model
from training.comparison.symmetry.model_alignment import (
    align_models,
    layer_cosines,
    plain_distance,
    transformer_of,
)
from training.comparison.symmetry.random_network import random_like
from training.comparison.weights import encoders as lens
from training.comparison.weights.encoder_pairs import moments, pair_sizes
from training.comparison.weights.encoder_verdicts import LABELS
from training.comparison.weights.report import PICTURES, render
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


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """Distances (section i) and score blocks (section ii), as JSON values."""
    start("weights: random copies")
    found: dict[str, Any] = {"seed": subject.effort.seed, "symmetries": _copies(subject)}
    start("weights: controls and layers")
    found |= {"controls": _controls(subject), "layers": _layers(subject)}
    start("weights: blocks of the theorem")
    found["blocks"] = _blocks(subject)
    return found


def _copies(subject: Subject) -> dict[str, Any]:
    """Distance to random copies before and after alignment; a copy that is none."""
    rows = []
    for number in range(COPIES[subject.effort.quick]):
        other = random_copy_model(subject.model, subject.generator(6, 0, number))
        rows.append(_row(subject.model, other))
    other = random_copy_model(subject.model, subject.generator(6, 1))
    mlp = layers_of(other)[0].mlp
    broken = None
    if mlp is not None and transformer_of(other).shape.activation == "gelu":
        with torch.no_grad():
            mlp.w1.mul_(STRETCH)
            mlp.b1.mul_(STRETCH)
            mlp.w2.div_(STRETCH)
        broken = _row(subject.model, other)
    return {"copies": rows, "broken": broken}


def _row(model: TGMM, other: TGMM) -> dict[str, Any]:
    """Distances of `other` from `model` before and after alignment."""
    found = align_models(model, other)
    return {
        "before": plain_distance(model, other),
        "after": found.distance,
        "by_kind": found.by_kind,
        "cosine": found.backbone.cosine,
    }


def _controls(subject: Subject) -> dict[str, Any]:
    """Distance to the untrained network, and to random directions of the same sizes."""
    networks = {"untrained": subject.untrained, "random": _random(subject)}
    return {name: _row(subject.model, other) for name, other in networks.items()}


def _random(subject: Subject) -> TGMM:
    """Random directions of the same sizes in place of the backbone; read-in and tokens are learned ones."""
    random = copy.deepcopy(subject.model).double()
    random.backbone = random_like(transformer_of(subject.model), subject.generator(6, 2))
    return random


def _layers(subject: Subject) -> dict[str, Any]:
    """How alike the layers of a network are: in a loop of two layers, as in the theorem, every other one."""
    networks = {name: transformer_of(model) for name, model in subject.networks().items()}
    networks["random"] = random_like(networks["learned"], subject.generator(6, 5))
    return {name: layer_cosines(network) for name, network in networks.items()}


def _blocks(subject: Subject) -> dict[str, Any]:
    """Score blocks of the theorem through encoders: learned, untrained, and with variables of other tasks."""
    config = subject.model.config
    if config.readout != "tokens":
        return {"missing": f"the read-out is {config.readout!r}: there are no component tokens to attend to"}
    served = [K for K in config.components if has_tasks(config.n_features, K)]
    if not served:
        return {"missing": refusal_of_components(config)}
    K = min(served, key=lambda k: abs(k - NEAR_COMPONENTS))
    n_tasks, n_points = TASKS[subject.effort.quick], min(POINTS, config.max_positions or POINTS)
    distribution = TaskDistribution(config.n_features, components=(K,))
    batch = sample_tasks(distribution, n_tasks, K, n_points, subject.generator(6, 3), dtype=torch.float64)
    estimate = record(subject.model, batch.X, K).estimate
    named = lens.named_variables(batch.X, estimate.log_weights.double(), estimate.means.double())
    learned, untrained = (_reads(model, batch.X, K) for model in (subject.model, subject.untrained))
    repeats = range(1 + SHUFFLES[subject.effort.quick])
    shuffled, *others = (named.shuffled(subject.generator(6, 4, number)) for number in repeats)
    floors = _floors(learned, others)
    networks = {
        "learned": _network_blocks(learned, named),
        "untrained": _network_blocks(untrained, named),
        "shuffled": _network_blocks(learned, shuffled),
    }
    random = _network_blocks(_reads(_random(subject), batch.X, K), named)
    return {
        "about": {
            "K": K,
            "d": config.n_features,
            "N": n_points,
            "tasks": n_tasks,
            "fit": n_tasks // 2,
            "shuffles": len(others),
        },
        "floors": {label: floors[label] for label in LABELS},
        "pair_floors": floors,
        "networks": networks,
        "reads": {name: _reading(networks[name]) for name in ("learned", "untrained")}
        | {"random": _reading(random)},
    }


def _reading(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the blocks of each layer: where attention goes, and what of x is read."""
    return [
        {"heads": [{key: head[key] for key in ("mass", "read_x")} for head in la["heads"]]} for la in layers
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
    points = recording.point_places
    tokens = slice(recording.token_places.start, recording.token_places.start + K)
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
        found = (moments(encodings[0].named.points), moments(encodings[0].named.tokens))
        for attention, encoded in zip(reads.attentions, encodings, strict=True):
            encoders = (encoded.point_encoders, encoded.token_encoders)
            for form in _score_forms(attention):
                for label, numbers in pair_sizes(encoders, found, form).items():
                    largest[label] = max(largest.get(label, 0.0), numbers["size"])
    return largest


@torch.no_grad()
def _network_blocks(reads: _Reads, named: lens.Named) -> list[dict[str, Any]]:
    """One entry a layer: R^2 on the tasks not fitted, and every head's blocks."""
    encodings = lens.encode(reads.points, reads.tokens, named, reads.n_fit)
    found = (moments(encodings[0].named.points), moments(encodings[0].named.tokens))
    terms = lens.theorem_terms(encodings[0].named)
    layers = []
    for attention, encoded, to_tokens, to_points in zip(
        reads.attentions, encodings, reads.to_tokens, reads.to_points, strict=True
    ):
        values = attention.value.double() @ attention.output.double()
        encoders = (encoded.point_encoders, encoded.token_encoders)
        heads = [
            lens.head_blocks(encoded, form, terms)
            | {"pairs": pair_sizes(encoders, found, form)}
            | {"read_x": lens.read_of_x(encoded, to_points[:, head], values[head])}
            | {"mass": {"E": _mass(to_tokens[:, head]), "M": _mass(to_points[:, head])}}
            for head, form in enumerate(_score_forms(attention))
        ]
        r2_points = lens.explained(encoded.named.points, encoded.point_encoders, encoded.points)
        r2_tokens = lens.explained(encoded.named.tokens, encoded.token_encoders, encoded.tokens)
        layers.append({"r2_points": r2_points, "r2_tokens": r2_tokens, "heads": heads})
    return layers


def _score_forms(attention: SelfAttention) -> torch.Tensor:
    """(H, D, D) A = c W_Q W_K^T in float64."""
    return attention.shape.score_scale * attention.query.double() @ attention.key.double().mT


def _mass(weights: torch.Tensor) -> float:
    return float(weights.sum(-1).mean())


def _refusal(subject: Subject) -> str:
    if not isinstance(subject.model.backbone, Transformer):
        return f"the backbone is {subject.model.config.backbone!r}: no heads or hidden units to match"
    return ""


def _pieces(subject: Subject) -> int:
    return 3


PART = Part(
    key="weight_space",
    title="Weights, modulo their symmetries",
    compute=compute,
    render=render,
    pieces=_pieces,
    pictures=PICTURES,
    refusal=_refusal,
)
