"""Part "probes": what each layer knows of each EM step, by linear probes of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from baselines.align import align
from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.component_counts import refusal_of_components, small_and_largest
from training.comparison.common.parts import Start, Subject
from training.comparison.common.random_paths import Purpose
from training.comparison.common.regimes import named_start
from training.comparison.probes import targets
from training.comparison.probes.handbuilt import COMPONENTS, STEPS, hand_built
from training.comparison.probes.lens import TunedLens, logit_lens
from training.comparison.probes.maps import Draw, ProbeMap, Summary, draws, probe_map, rounded, summary
from training.comparison.probes.steps import StepTest, distances_to, step_test
from training.comparison.probes.trend import Trend, largest_share, trend
from training.interpretability.recording import Recording, check_varied, record
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution, sample_tasks

OWN_LAYER = 1
"""EM from the network's own estimate starts from its estimate after this layer."""
NAMED_STARTS = {"k-means++": "k-means++", "random-points": "random points", "normal": "N(0, I)"}


@dataclass(frozen=True)
class Numbers:
    """How much is measured.

    tasks, lens_tasks  probed, and to fit the tuned lens. step_tasks: for the worth of a layer.
    points      probed a task.
    seeds       splits of the tasks, each with its own shuffle.
    iterations  T.
    resamples   of the tasks, for intervals.
    """

    tasks: int
    lens_tasks: int
    step_tasks: int
    points: int
    seeds: int
    iterations: int
    resamples: int


@dataclass(frozen=True)
class Size(Numbers):
    """With the tasks for the hand-built EM, and how many numbers of components K are looked at."""

    handbuilt_tasks: int
    most_cells: int


@dataclass(frozen=True)
class Settings(Numbers):
    """Of the run; own_layer is OWN_LAYER, floor that of responsibilities."""

    d: int
    layers: int
    n_samples: int
    seed: int
    floor: float
    own_layer: int
    components: list[int]


@dataclass(frozen=True)
class Jump:
    """Of the rises of R^2 of the end of EM: the largest share of one layer, that layer, its rise."""

    share: float
    layer: int
    rise: float


@dataclass(frozen=True)
class MapRow(Summary):
    """Of one network, target and start of EM: columns are iterates 0..T and the end.

    failed  tasks in which EM lost a component.
    """

    K: int
    network: str
    target: str
    start: str
    trend: Trend
    jump: Jump
    failed: int

    __repr__ = short_repr


@dataclass(frozen=True)
class AnswerRow(Summary):
    """The same with two columns: the truth and the network's own output."""

    K: int
    network: str
    target: str


@dataclass(frozen=True)
class LensRow:
    """The estimates that a network holds, layer by layer.

    logit_error, tuned_error, tuned_r2  of both lenses. own_error, oracle_error: of the output, of EM.
    to_path  distance of the tuned lens to EM's iterates from its estimate after OWN_LAYER, and to their end.
    """

    K: int
    network: str
    logit_error: list[float]
    tuned_error: list[float]
    tuned_r2: list[float]
    own_error: float
    oracle_error: float
    to_path: list[list[float]]
    steps: StepTest

    __repr__ = short_repr


@dataclass(frozen=True)
class HandBuiltRow(Summary):
    """Of the hand-built stream, for its own path or, as control, for another."""

    target: str
    path: str
    trend: Trend


@dataclass(frozen=True)
class HandBuiltResult:
    """Of the hand-built EM of so many steps."""

    tasks: int
    steps: int
    n_samples: int
    maps: list[HandBuiltRow]

    __repr__ = short_repr


@dataclass(frozen=True)
class ProbesResult:
    """Of every K and both networks."""

    settings: Settings
    maps: list[MapRow]
    answers: list[AnswerRow]
    lenses: list[LensRow]
    handbuilt: HandBuiltResult

    __repr__ = short_repr


QUICK = Size(96, 128, 64, 8, seeds=3, iterations=6, resamples=100, handbuilt_tasks=48, most_cells=1)
FULL = Size(384, 512, 256, 16, seeds=3, iterations=8, resamples=400, handbuilt_tasks=192, most_cells=2)


def size_of(subject: Subject) -> Size:
    """QUICK or FULL, with at most as many tasks as are asked for."""
    size, most = QUICK if subject.effort.quick else FULL, subject.effort.tasks
    tasks, lens, steps = (min(n, most) for n in (size.tasks, size.lens_tasks, size.step_tasks))
    return replace(size, tasks=tasks, lens_tasks=lens, step_tasks=min(steps, tasks))


def numbers_of_components(subject: Subject) -> list[int]:
    """The largest K, and before it K = 3 (or the smallest from 2 on) where there is effort for two."""
    return small_and_largest(subject.model.config)[-size_of(subject).most_cells :]


def refusal(subject: Subject) -> str:
    """Why this cannot be asked."""
    config = subject.model.config
    if not isinstance(subject.model.backbone, Transformer):
        return f"the backbone is {config.backbone!r}: probes read the layers of a transformer"
    if config.covariance != "unit":
        return "the network estimates covariances: EM here has unit covariances"
    return refusal_of_components(config)


def compute(subject: Subject, start: Start) -> ProbesResult:
    """Maps of R^2, their trends, the lenses and the hand-built control."""
    size = size_of(subject)
    config = subject.model.config
    n_samples = min(128, config.max_positions or 128)
    numbers = {one.name: getattr(size, one.name) for one in fields(Numbers)}
    settings = Settings(
        **numbers | {"points": min(size.points, n_samples)},
        d=config.n_features,
        layers=config.layers,
        n_samples=n_samples,
        seed=subject.effort.seed,
        floor=targets.FLOOR,
        own_layer=OWN_LAYER,
        components=numbers_of_components(subject),
    )
    maps: list[MapRow] = []
    answers: list[AnswerRow] = []
    lenses: list[LensRow] = []
    for K in settings.components:
        cell = _Cell(subject, size, K, n_samples)
        for network, model in subject.networks().items():
            start(f"probes of the {network} network, K = {K}")
            found = cell.examine(network, model)
            for rows, more in zip((maps, answers, lenses), found, strict=True):
                rows += more
    start("probes of the hand-built EM")
    return ProbesResult(settings, maps, answers, lenses, _hand_built(subject, size))


class _Cell:
    """The tasks of one K, the same for both networks, and EM on them."""

    def __init__(self, subject: Subject, size: Size, K: int, n_samples: int) -> None:
        generator = subject.generator(Purpose.PROBES_TASKS, K)
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
            first = named_start(self.X, K, init, generator)
            self.paths[label] = targets.em_path(self.X, first, size.iterations)
        self.oracle = em(self.X, init=self.batch.truth, max_iter=targets.TO_THE_END, tol=targets.SETTLED)
        self.state = generator.get_state()

    def examine(self, network: str, model: TGMM) -> tuple[list[MapRow], list[AnswerRow], list[LensRow]]:
        """Everything measured of one network."""
        generator = torch.Generator()
        generator.set_state(self.state)  # the same resamples for both networks
        recording = record(model, self.X, self.K)
        check_varied(recording)
        estimate = recording.estimate.to_mixture()
        paths = {label: path.aligned(estimate) for label, path in self.paths.items()}
        lenses: list[LensRow] = []
        if model.config.readout == "tokens":
            tuned = TunedLens(record(model, self.lens_batch.X, self.K), self.K).estimates(recording)
            own = targets.em_path(self.X, tuned[OWN_LAYER], self.size.iterations)
            paths |= {targets.OWN_START: own, targets.LINE: own.straight_line()}
            lenses.append(self._lens(network, model, recording, tuned, own, generator))
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
        maps, answers, width = [], [], self.size.iterations + 2
        for target, (states, wanted) in streams.items():
            about = {"K": self.K, "network": network, "target": target}
            whole = probe_map(states, wanted, self.seeds)
            resampled = whole.resampled(self.size.resamples, generator)
            for place, (label, path) in enumerate(paths.items()):
                columns = list(range(place * width, (place + 1) * width))
                one = whole[columns], resampled[..., columns]
                trended = trend(*(part[..., : width - 1] for part in (one[0].r2, one[1])))
                row = vars(summary(*one)) | about
                failed = int(path.failed.sum())
                maps.append(MapRow(**row, start=label, trend=trended, jump=_jump(one[0]), failed=failed))
            last = list(range(len(paths) * width, len(mixtures)))
            answers.append(AnswerRow(**vars(summary(whole[last], resampled[..., last])) | about))
        return maps, answers, lenses

    def _lens(
        self,
        network: str,
        model: TGMM,
        recording: Recording,
        tuned: Sequence[Mixture],
        path: targets.Path,
        generator: torch.Generator,
    ) -> LensRow:
        n, truth, estimate = self.size.step_tasks, self.batch.truth, recording.estimate.to_mixture()
        around = (estimate.means - estimate.means.mean((0, 1))).square().sum()
        steps = step_test(
            self.X[:n], [m[:n] for m in tuned], self.size.iterations, self.size.resamples, generator
        )
        return LensRow(
            K=self.K,
            network=network,
            logit_error=[_mean_error(m, truth) for m in logit_lens(model, recording, self.K)],
            tuned_error=[_mean_error(m, truth) for m in tuned],
            tuned_r2=[float(1 - (m.means - estimate.means).square().sum() / around) for m in tuned],
            own_error=_mean_error(estimate, truth),
            oracle_error=_mean_error(self.oracle.mixture, truth),
            to_path=rounded(distances_to(tuned, [*path.iterates, path.converged])),
            steps=steps,
        )


def _mean_error(estimate: Mixture, truth: Mixture) -> float:
    return float(errors(estimate, truth).total.mean())


def _jump(found: ProbeMap) -> Jump:
    """Of the last column, the end of EM."""
    share, layer = largest_share(found.r2[:, -1])
    return Jump(share, layer, float(found.r2[layer, -1] - found.r2[layer - 1, -1]))


def _hand_built(subject: Subject, size: Size) -> HandBuiltResult:
    """The maps of the hand-built stream for its own path and, as control, for another."""
    generator = subject.generator(Purpose.PROBES_HAND_BUILT)
    built = hand_built(size.handbuilt_tasks, 64, size.iterations, generator)
    seeds: list[Draw] = draws(size.handbuilt_tasks, size.seeds, generator)
    points = torch.arange(min(size.points, 64)) * 64 // min(size.points, 64)
    maps = []
    for label, path in (("its own path", built.path), ("EM from another start", built.other)):
        for target, states, wanted in (
            ("log-responsibilities", built.states[:, :, points], built.point_targets(points, path)),
            ("means", built.states[:, :, :COMPONENTS], built.token_targets(path)),
        ):
            whole = probe_map(states, wanted, seeds)
            resampled = whole.resampled(size.resamples, generator)
            found, trended = summary(whole, resampled), trend(whole.r2, resampled)
            maps.append(HandBuiltRow(**vars(found), target=target, path=label, trend=trended))
    return HandBuiltResult(size.handbuilt_tasks, STEPS, 64, maps)
