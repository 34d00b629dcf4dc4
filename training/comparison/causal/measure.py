"""What happens when a step is replaced? Heads ablated; the constructed step's values patched in.

Ablations: ablation.py. Patches: patching.py and patches.py.
Whether the heads that look like steps of EM (attention/measure.py) are those that matter is a
rank correlation over heads. A network with the pooling read-out has no component tokens: its heads are
ablated, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.comparison.attention.measure import refusal
from training.comparison.attention.patterns import patterns_of
from training.comparison.attention.row_correlation import correlation
from training.comparison.causal.ablation import ablations, rank_agreement
from training.comparison.causal.figures import PICTURES
from training.comparison.causal.patches import patches
from training.comparison.causal.report import render
from training.comparison.common.em_answers import Tasks, components_of, draw_tasks, points_of
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.recording import Recording, check_varied, record
from training.model.tgmm import TGMM

Answer = dict[str, Any]

HEAD_PERMUTATIONS = 9999


@dataclass(frozen=True)
class Size:
    """Tasks ablated and patched, tasks the encoders are fitted on, points a task."""

    tasks: int
    fitted: int
    points: int


def size_of(subject: Subject) -> Size:
    """Small with little effort."""
    if subject.effort.quick:
        return Size(min(20, subject.effort.tasks), 128, points_of(subject, 64))
    return Size(min(48, subject.effort.tasks), 384, points_of(subject, 64))


def head_statistics(model: TGMM, tasks: Tasks, recording: Recording) -> dict[str, Tensor]:
    """The correlations of the attention part, (L, H) means over tasks."""
    shape = (model.config.layers, model.config.heads)
    found = {}
    for name, pattern in patterns_of(model, recording, tasks).items():
        found[name] = correlation(pattern.heads, pattern.target[:, None]).mean(0).reshape(shape)
    return found


def _agreement(
    statistics: dict[str, Tensor], effect: Tensor, generator: torch.Generator
) -> dict[str, dict[str, float]]:
    return {
        name: rank_agreement(values, effect, HEAD_PERMUTATIONS, generator)
        for name, values in statistics.items()
    }


@torch.no_grad()
def compute(subject: Subject, start: Start) -> Answer:
    """Ablations, their agreement with attention, and patches, of both networks for each K."""
    size, regimes = size_of(subject), []
    with_tokens = subject.model.config.readout == "tokens"
    for K in components_of(subject):
        start(f"causal, K = {K}: tasks")
        tasks = draw_tasks(subject, size.tasks, K, size.points, subject.generator(401, K))
        fitted = draw_tasks(subject, size.fitted, K, size.points, subject.generator(402, K))
        networks: Answer = {}
        for name, model in subject.networks().items():
            start(f"causal, K = {K}: heads ablated in the {name} network")
            recording = record(model, tasks.X, K)
            check_varied(recording)
            own = ablations(model, tasks, recording, subject.generator(403, K))
            statistics = head_statistics(model, tasks, recording)
            effect = torch.tensor(own["moved"]["mean"]["mean"])
            own["agreement"] = _agreement(statistics, effect, subject.generator(404, K))
            own["statistics"] = {key: values.tolist() for key, values in statistics.items()}
            if with_tokens:
                start(f"causal, K = {K}: patches into the {name} network")
                own["patches"] = patches(model, fitted, tasks, subject.generator(405, K))
            networks[name] = own
        regimes.append(
            {"K": K, "N": size.points, "tasks": len(tasks), "fitted": len(fitted), "networks": networks}
        )
    return {"d": subject.model.config.n_features, "seed": subject.effort.seed, "regimes": regimes}


PART = Part(
    key="causal",
    title="What happens when a step is replaced?",
    compute=compute,
    render=render,
    pieces=lambda subject: (
        (5 if subject.model.config.readout == "tokens" else 3) * len(components_of(subject))
    ),
    pictures=PICTURES,
    refusal=refusal,
)
