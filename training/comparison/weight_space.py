"""Part of the comparison: a network's weights modulo their symmetries, and the theorem's blocks in them."""

from __future__ import annotations

import copy
from typing import Any

import torch

from constructions.transformer import SelfAttention, Transformer
from training.comparison import lens
from training.comparison.controls import random_like
from training.comparison.model_alignment import (
    align_models,
    layer_cosines,
    plain_distance,
    transformer_of,
)
from training.comparison.parts import Part, Start, Subject
from training.comparison.recording import attention_maps, attention_of, layers_of, record
from training.comparison.symmetries import random_copy_model
from training.comparison.weight_space_report import PICTURES, render
from training.model import TGMM
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
    random = copy.deepcopy(subject.model).double()
    random.backbone = random_like(transformer_of(subject.model), subject.generator(6, 2))
    networks = {"untrained": subject.untrained, "random": random}
    return {name: _row(subject.model, other) for name, other in networks.items()}


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
    served = [K for K in config.components if config.n_features > 1 or K <= 2]
    if not served:
        return {
            "missing": "in one dimension tasks have at most two components, fewer than the network serves"
        }
    K = min(served, key=lambda k: abs(k - NEAR_COMPONENTS))
    n_tasks, n_points = TASKS[subject.effort.quick], min(POINTS, config.max_positions or POINTS)
    distribution = TaskDistribution(config.n_features, components=(K,))
    batch = sample_tasks(distribution, n_tasks, K, n_points, subject.generator(6, 3), dtype=torch.float64)
    with torch.no_grad():
        estimate = subject.model.network(batch.X.to(subject.model.readin.weight.dtype), K)
    named = lens.named_variables(batch.X, estimate.log_weights.double(), estimate.means.double())
    repeats = range(1 + SHUFFLES[subject.effort.quick])
    shuffled = [named.shuffled(subject.generator(6, 4, number)) for number in repeats]
    learned, first, *others = _network_blocks(subject.model, batch.X, [named, *shuffled])
    [untrained] = _network_blocks(subject.untrained, batch.X, [named])
    labels = [" ".join(block) for block in lens.BLOCKS]
    heads = [head for layers in others for layer in layers for head in layer["heads"]]
    return {
        "about": {
            "K": K,
            "d": config.n_features,
            "N": n_points,
            "tasks": n_tasks,
            "fit": n_tasks // 2,
            "shuffles": len(others),
        },
        "floors": {label: max(head[label]["size"] for head in heads) for label in labels},
        "networks": {"learned": learned, "untrained": untrained, "shuffled": first},
    }


@torch.no_grad()
def _network_blocks(model: TGMM, X: torch.Tensor, variables: list[lens.Named]) -> list[list[dict[str, Any]]]:
    """For each set of variables, one entry a layer: R^2 on the tasks not fitted, and every head's blocks."""
    K = variables[0].tokens["mu"].shape[1]
    recording = record(model, X, K)
    n_fit = len(X) // 2
    points = recording.point_places
    tokens = slice(recording.token_places.start, recording.token_places.start + K)
    layers = layers_of(model)
    h = torch.stack([layer.norm1(recording.states[place]) for place, layer in enumerate(layers)]).double()
    maps = [attention_maps(model, recording, place)[n_fit:].double() for place in range(len(layers))]
    return [
        [
            _layer_blocks(attention_of(layer), encoded, own, points, tokens)
            for layer, encoded, own in zip(
                layers, lens.encode(h[:, :, points], h[:, :, tokens], named, n_fit), maps, strict=True
            )
        ]
        for named in variables
    ]


def _layer_blocks(
    attention: SelfAttention, encoded: lens.Encoded, maps: torch.Tensor, points: slice, tokens: slice
) -> dict[str, Any]:
    """Encoders and heads of one layer; maps (T, H, T', T') its attention weights."""
    terms = lens.theorem_terms(encoded.named)
    heads = []
    for head in range(attention.layer.heads):
        q, k, v, o = (
            w[head].double() for w in (attention.query, attention.key, attention.value, attention.output)
        )
        entry = lens.head_blocks(encoded, attention.shape.score_scale * q @ k.T, terms)
        entry["read_x"] = lens.read_of_x(encoded, maps[:, head, tokens, points], v @ o)
        entry["mass"] = {
            "E": float(maps[:, head, points, tokens].sum(-1).mean()),
            "M": float(maps[:, head, tokens, points].sum(-1).mean()),
        }
        heads.append(entry)
    return {
        "r2_points": lens.explained(encoded.named.points, encoded.point_encoders, encoded.points),
        "r2_tokens": lens.explained(encoded.named.tokens, encoded.token_encoders, encoded.tokens),
        "heads": heads,
    }


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
