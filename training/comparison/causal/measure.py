"""What happens when a step is replaced? Heads ablated; the constructed step's values patched in.

Ablations: ablation.py. Patches: patching.py and patches.py.
Whether the heads that look like steps of EM (attention/measure.py) are those that matter is a
rank correlation over heads. A network with the pooling read-out has no component tokens: its heads are
ablated, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from console.typed_json import Absent
from constructions.language.shown import short_repr
from training.comparison.attention.patterns import patterns_of
from training.comparison.causal.ablation import Ablations, Agreement, ablations, rank_agreement
from training.comparison.causal.patches import Patches, patches
from training.comparison.common.em_answers import AnsweredTasks, components_of, draw_tasks, points_of
from training.comparison.common.parts import Start, Subject
from training.comparison.common.random_paths import Purpose
from training.interpretability.recording import Recording, check_varied, record
from training.model.tgmm import TGMM

HEAD_PERMUTATIONS = 9999


@dataclass(frozen=True)
class Size:
    """AnsweredTasks ablated and patched, tasks the encoders are fitted on, points a task."""

    tasks: int
    fitted: int
    points: int


@dataclass(frozen=True)
class NetworkResult(Ablations):
    """Of one network; keys of agreement and statistics are patterns of attention, of (L, H) heads."""

    agreement: dict[str, Agreement]
    statistics: dict[str, list[list[float]]]
    patches: Annotated[Patches | None, Absent()] = None

    __repr__ = short_repr

    @property
    def patched(self) -> Patches:
        """The patches, of a network that has component tokens; ValueError otherwise."""
        if self.patches is None:
            raise ValueError("nothing was patched, needs component tokens")
        return self.patches


@dataclass(frozen=True)
class RegimeResult:
    """One K; fitted: tasks that the encoders are fitted on."""

    K: int
    N: int
    tasks: int
    fitted: int
    networks: dict[str, NetworkResult]

    __repr__ = short_repr


@dataclass(frozen=True)
class CausalResult:
    """Of every K."""

    d: int
    seed: int
    regimes: list[RegimeResult]

    __repr__ = short_repr


def size_of(subject: Subject) -> Size:
    """Small with little effort."""
    tasks, fitted = (20, 128) if subject.effort.quick else (48, 384)
    return Size(min(tasks, subject.effort.tasks), fitted, points_of(subject, 64))


def head_statistics(model: TGMM, tasks: AnsweredTasks, recording: Recording) -> dict[str, Tensor]:
    """The correlations of the attention part, (L, H) means over tasks."""
    shape = (model.config.layers, model.config.heads)
    patterns = patterns_of(model, recording, tasks)
    return {name: pattern.correlation.mean(0).reshape(shape) for name, pattern in patterns.items()}


@torch.no_grad()
def compute(subject: Subject, start: Start) -> CausalResult:
    """Ablations, their agreement with attention, and patches, of both networks for each K."""
    size, regimes = size_of(subject), []
    with_tokens = subject.model.config.readout == "tokens"
    for K in components_of(subject):
        start(f"causal, K = {K}: tasks")
        tasks = draw_tasks(subject, size.tasks, K, size.points, subject.generator(Purpose.CAUSAL_TASKS, K))
        fitted = draw_tasks(subject, size.fitted, K, size.points, subject.generator(Purpose.CAUSAL_FITTED, K))
        networks: dict[str, NetworkResult] = {}
        for name, model in subject.networks().items():
            start(f"causal, K = {K}: heads ablated in the {name} network")
            recording = record(model, tasks.X, K)
            check_varied(recording)
            own = ablations(model, tasks, recording, subject.generator(Purpose.CAUSAL_ROTATIONS, K))
            statistics = head_statistics(model, tasks, recording)
            effect = torch.tensor(own.moved["mean"].mean)
            chance = subject.generator(Purpose.CAUSAL_AGREEMENT, K)
            agreement = {
                key: rank_agreement(values, effect, HEAD_PERMUTATIONS, chance)
                for key, values in statistics.items()
            }
            patched = None
            if with_tokens:
                start(f"causal, K = {K}: patches into the {name} network")
                patched = patches(model, fitted, tasks, subject.generator(Purpose.CAUSAL_PATCHES, K))
            grids = {key: values.tolist() for key, values in statistics.items()}
            networks[name] = NetworkResult(own.error, own.moved, own.worse, agreement, grids, patched)
        regimes.append(RegimeResult(K, size.points, len(tasks), len(fitted), networks))
    return CausalResult(subject.model.config.n_features, subject.effort.seed, regimes)
