"""Part "probes": what each layer knows of each EM step, by linear probes of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from baselines.align import align
from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.transformer import Transformer
from training.comparison.common.component_counts import components_served, refusal_of_components
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.recording import Recording, check_varied, record
from training.comparison.probes import targets
from training.comparison.probes.handbuilt import STEPS, hand_built
from training.comparison.probes.lens import TunedLens, logit_lens
from training.comparison.probes.maps import Draw, ProbeMap, draws, probe_map, rounded, summary
from training.comparison.probes.report import PICTURES, render
from training.comparison.probes.steps import distances_to, step_test
from training.comparison.probes.trend import largest_share, trend
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution, sample_tasks

OWN_LAYER = 1
"""EM from the network's own estimate starts from its estimate after this layer."""
NAMED_STARTS = {"k-means++": "k-means++", "random-points": "random points", "normal": "N(0, I)"}
PURPOSE = 3200
"""Tells the random numbers of this part from those of others."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    tasks, lens_tasks            probed, and to fit the tuned lens.
    handbuilt_tasks, step_tasks  for the hand-built EM, and for the worth of a layer.
    points      probed a task.
    seeds       splits of the tasks, each with its own shuffle.
    iterations  T.
    resamples   of the tasks, for intervals.
    most_cells  numbers of components K.
    """

    tasks: int
    lens_tasks: int
    handbuilt_tasks: int
    step_tasks: int
    points: int
    seeds: int
    iterations: int
    resamples: int
    most_cells: int


QUICK = Size(96, 128, 48, 64, points=8, seeds=3, iterations=6, resamples=100, most_cells=1)
FULL = Size(384, 512, 192, 256, points=16, seeds=3, iterations=8, resamples=400, most_cells=2)


def size_of(subject: Subject) -> Size:
    """QUICK or FULL, with at most as many tasks as are asked for."""
    size, most = QUICK if subject.effort.quick else FULL, subject.effort.tasks
    tasks, lens, steps = (min(n, most) for n in (size.tasks, size.lens_tasks, size.step_tasks))
    return replace(size, tasks=tasks, lens_tasks=lens, step_tasks=min(steps, tasks))


def numbers_of_components(subject: Subject) -> list[int]:
    """The largest K, and before it K = 3 (or the smallest from 2 on) where there is effort for two."""
    several = components_served(subject.model.config)
    first = 3 if 3 in several else several[0]
    return sorted({first, several[-1]})[-size_of(subject).most_cells :]


def refusal(subject: Subject) -> str:
    """Why this cannot be asked."""
    config = subject.model.config
    if not isinstance(subject.model.backbone, Transformer):
        return f"the backbone is {config.backbone!r}: probes read the layers of a transformer"
    if config.scales:
        return "the network estimates variances: EM here has unit covariances"
    return refusal_of_components(config)


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """Maps of R^2, their trends, the lenses and the hand-built control, for probes_report."""
    size = size_of(subject)
    config = subject.model.config
    n_samples = min(128, config.max_positions or 128)
    found: dict[str, Any] = {
        "settings": {
            "d": config.n_features,
            "layers": config.layers,
            "n_samples": n_samples,
            "tasks": size.tasks,
            "lens_tasks": size.lens_tasks,
            "points": min(size.points, n_samples),
            "seeds": size.seeds,
            "seed": subject.effort.seed,
            "iterations": size.iterations,
            "resamples": size.resamples,
            "step_tasks": size.step_tasks,
            "floor": targets.FLOOR,
            "own_layer": OWN_LAYER,
            "components": numbers_of_components(subject),
        },
        "maps": [],
        "answers": [],
        "lenses": [],
    }
    for K in numbers_of_components(subject):
        cell = _Cell(subject, size, K, n_samples)
        for network, model in subject.networks().items():
            start(f"probes of the {network} network, K = {K}")
            for key, rows in cell.examine(model).items():
                found[key] += [{"K": K, "network": network, **row} for row in rows]
    start("probes of the hand-built EM")
    found["handbuilt"] = _hand_built(subject, size)
    return found


class _Cell:
    """The tasks of one K, the same for both networks, and EM on them."""

    def __init__(self, subject: Subject, size: Size, K: int, n_samples: int) -> None:
        generator = subject.generator(PURPOSE, K)
        tasks = TaskDistribution(subject.model.config.n_features, components=(K,))
        self.K, self.size = K, size
        self.batch, self.lens_batch = (
            sample_tasks(tasks, n, K, n_samples, generator, dtype=torch.float64)
            for n in (size.tasks, size.lens_tasks)
        )
        self.X = self.batch.X
        probed = min(size.points, n_samples)
        self.points = torch.arange(probed) * n_samples // probed
        self.seeds = draws(size.tasks, size.seeds, generator)
        self.paths = {}
        for init, label in NAMED_STARTS.items():
            first = targets.named_start(self.X, K, init, generator)
            self.paths[label] = targets.em_path(self.X, first, size.iterations)
        self.oracle = em(self.X, init=self.batch.truth, max_iter=targets.TO_THE_END, tol=targets.SETTLED)
        self.state = generator.get_state()

    def examine(self, model: TGMM) -> dict[str, list[dict[str, Any]]]:
        """Everything measured of one network."""
        generator = torch.Generator()
        generator.set_state(self.state)  # the same resamples for both networks
        recording = record(model, self.X, self.K)
        check_varied(recording)
        estimate = recording.estimate.to_mixture()
        paths = {label: path.aligned(estimate) for label, path in self.paths.items()}
        lenses: list[dict[str, Any]] = []
        if model.config.readout == "tokens":
            tuned = TunedLens(record(model, self.lens_batch.X, self.K), self.K).estimates(recording)
            own = targets.em_path(self.X, tuned[OWN_LAYER], self.size.iterations)
            paths |= {targets.OWN_START: own, targets.LINE: own.straight_line()}
            lenses.append(self._lens(recording, model, tuned, own, estimate, generator))
        ends = [align(self.batch.truth, estimate)[0], estimate]
        mixtures = [m for path in paths.values() for m in (*path.iterates, path.converged)] + ends
        at = self.X[:, self.points]
        streams = {
            "log-responsibilities": (
                recording.points[:, :, self.points],
                targets.log_responsibilities(at, mixtures),
            ),
            "centres": (recording.points[:, :, self.points], targets.posterior_centres(at, mixtures)),
        }
        if recording.n_tokens:
            tokens = recording.tokens[:, :, : self.K]
            streams["means"] = (tokens, targets.component_means(mixtures))
            streams["log weights"] = (tokens, targets.component_log_weights(mixtures))
        maps, answers = [], []
        for target, (states, wanted) in streams.items():
            whole = probe_map(states, wanted, self.seeds)
            resampled = whole.resampled(self.size.resamples, generator)
            width = self.size.iterations + 2
            for place, (label, path) in enumerate(paths.items()):
                columns = list(range(place * width, (place + 1) * width))
                row = _map(whole[columns], resampled[..., columns], self.size.iterations)
                row["failed"] = int(path.failed.sum())
                maps.append({"target": target, "start": label} | row)
            last = list(range(len(paths) * width, len(mixtures)))
            answers.append({"target": target} | summary(whole[last], resampled[..., last]))
        return {"maps": maps, "answers": answers, "lenses": lenses}

    def _lens(
        self,
        recording: Recording,
        model: TGMM,
        tuned: Sequence[Mixture],
        path: targets.Path,
        estimate: Mixture,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        """Errors of the lenses by layer, their distance to EM's iterates, and what a layer is worth."""
        n, truth = self.size.step_tasks, self.batch.truth
        around = (estimate.means - estimate.means.mean((0, 1))).square().sum()
        return {
            "logit_error": [_mean_error(m, truth) for m in logit_lens(model, recording, self.K)],
            "tuned_error": [_mean_error(m, truth) for m in tuned],
            "tuned_r2": [float(1 - (m.means - estimate.means).square().sum() / around) for m in tuned],
            "own_error": _mean_error(estimate, truth),
            "oracle_error": _mean_error(self.oracle.mixture, truth),
            "to_path": rounded(distances_to(tuned, [*path.iterates, path.converged])),
            "steps": step_test(
                self.X[:n], [m[:n] for m in tuned], self.size.iterations, self.size.resamples, generator
            ),
        }


def _mean_error(estimate: Mixture, truth: Mixture) -> float:
    return float(errors(estimate, truth).total.mean())


def _map(found: ProbeMap, resampled: Tensor, iterations: int) -> dict[str, Any]:
    """R^2 of the columns 0..T and "converged", the trend over 0..T, the jump of "converged"."""
    iterates = slice(0, iterations + 1)
    share, layer = largest_share(found.r2[:, -1])
    return {
        **summary(found, resampled),
        "trend": trend(found.r2[:, iterates], resampled[..., iterates]),
        "jump": {
            "share": share,
            "layer": layer,
            "rise": float(found.r2[layer, -1] - found.r2[layer - 1, -1]),
        },
    }


def _hand_built(subject: Subject, size: Size) -> dict[str, Any]:
    """The maps of the hand-built stream for its own path and, as control, for another."""
    generator = subject.generator(PURPOSE, 0)
    built = hand_built(size.handbuilt_tasks, 64, size.iterations, generator)
    seeds: list[Draw] = draws(size.handbuilt_tasks, size.seeds, generator)
    points = torch.arange(min(size.points, 64)) * 64 // min(size.points, 64)
    found: dict[str, Any] = {"tasks": size.handbuilt_tasks, "steps": STEPS, "n_samples": 64, "maps": []}
    for label, path in (("its own path", built.path), ("EM from another start", built.other)):
        for target, states, wanted in (
            ("log-responsibilities", built.states[:, :, points], built.point_targets(points, path)),
            ("means", built.states[:, :, : _components(built.path)], built.token_targets(path)),
        ):
            whole = probe_map(states, wanted, seeds)
            resampled = whole.resampled(size.resamples, generator)
            row = summary(whole, resampled) | {"trend": trend(whole.r2, resampled)}
            found["maps"].append({"target": target, "path": label} | row)
    return found


def _components(path: targets.Path) -> int:
    """K: the first K tokens of the hand-built stream carry one component each."""
    return path.converged.n_components


PART = Part(
    key="probes",
    title="What each layer knows of each EM step",
    compute=compute,
    render=render,
    pieces=lambda subject: 2 * len(numbers_of_components(subject)) + 1,
    pictures=PICTURES,
    refusal=refusal,
)
