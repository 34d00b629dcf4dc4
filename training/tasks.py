"""Tasks for meta-training and evaluation: distributions of mixtures, batches of data sets, training steps.

One step's global batch is a pure function of (distribution, n_tasks, micro_batches, seed, step): `plan_step`
says cheaply what each micro-batch is, `draw` makes one of them, on any process and in any order. The numbers
are those of one kind of device and one dtype: a GPU's generator gives other tasks of the same law for the
same seed than a CPU's, and so does float32 beside float64.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines import task_families as families
from baselines.checks import check_count
from baselines.mixture import Mixture
from constructions.language.shown import short_repr

COVARIANCES = ("unit", "diagonal", "full")
REJECTION_BLOCK = (
    256  # sets of means drawn at a time: one round for a micro-batch at d >= 4, two at d = 2, K = 5
)
LENGTHS, TASKS = 0, 1  # which random numbers of a step
MOST_SAMPLES = 100_000
"""Points a task may have: far beyond what is measured, and a mistyped N is refused before memory runs out."""


@dataclass(frozen=True)
class TaskDistribution:
    """x ~ sum_k pi_k N(mu_k, S_k) in R^d, N points a task; checked when it is built, ValueError otherwise.

    n_features       d.
    components       the numbers of components K, taken in turn by the micro-batches of training; one that
                     stands there twice is taken twice as often.
    samples          (low, high): N uniform on the integers low..high, both included; at most MOST_SAMPLES.
    covariance       "unit": S_k = I. "diagonal": diag(s_k1^2, ..., s_kd^2), s_kj uniform in deviation_range.
                     "full": Q_k diag(s_k^2) Q_k^T with a uniformly random rotation Q_k, s as before.
    deviation_range  (low, high) of the standard deviations s; not used by "unit".
    separation       None: mu uniform in [-box, box]^d, all K redrawn until every pairwise cosine is below
                     max_cosine. A number: every two means exactly so far apart, the corners of a regular
                     simplex about 0 rotated at random; needs K <= d + 1; box and max_cosine are not used.
    perturbation     sigma_p: mu + sigma_p z, z ~ N(0, I), after the rejection; needs separation = None.
    sort_weights     pi is uniform in [0.2, 0.8]^K, then normalised; True sorts it ascending.

    The defaults are the paper's test distribution (arXiv 2505.11918), weights unsorted. Lists, as TOML gives
    them, become tuples.
    """

    n_features: int
    components: tuple[int, ...] = (2, 3, 4, 5)
    samples: tuple[int, int] = (64, 128)
    covariance: str = "unit"
    deviation_range: tuple[float, float] = (0.5, 1.5)
    separation: float | None = None
    perturbation: float = 0.0
    box: float = 5.0
    max_cosine: float = 0.8
    sort_weights: bool = False

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features)
        self._set_tuple("components", None)
        self._set_tuple("samples", 2)
        self._set_tuple("deviation_range", 2)
        for K in self.components:
            check_count("a number of components", K)
        if not self.components:
            raise ValueError("components is (), needs at least one number of components")
        low, high = self.samples
        check_count("samples[0]", low)
        check_count("samples[1]", high, low)
        check_samples("samples[1]", high)
        if self.covariance not in COVARIANCES:
            raise ValueError(f"covariance is {self.covariance!r}, needs one of {', '.join(COVARIANCES)}")
        for name, value in zip(("low", "high"), self.deviation_range, strict=True):
            _check_number(f"deviation_range's {name}", value)
        families.check_deviation_range(self.deviation_range)
        _check_number("box", self.box, above=0)
        _check_number("max_cosine", self.max_cosine, above=-1)
        _check_number("perturbation", self.perturbation, least=0)
        if not isinstance(self.sort_weights, bool):
            raise ValueError(f"sort_weights is {self.sort_weights!r}, needs True or False")
        if self.separation is None:
            self._check_rejection()
        else:
            _check_number("separation", self.separation, above=0)
            families.check_simplex(max(self.components), self.n_features)
            if self.perturbation:
                raise ValueError(
                    f"perturbation is {self.perturbation}, needs 0 with a fixed separation: it would undo it"
                )

    def _check_rejection(self) -> None:
        """Refuse what is plainly impossible: of three numbers two have the same sign, and so cosine 1."""
        if self.n_features == 1 and max(self.components) > 2 and self.max_cosine <= 1:
            raise ValueError(
                f"components is {self.components}, needs at most 2 in one dimension with max_cosine <= 1: "
                "of three means two have cosine 1"
            )

    def _set_tuple(self, name: str, length: int | None) -> None:
        value = getattr(self, name)
        if not isinstance(value, tuple | list) or length not in (None, len(value)):
            numbers = "a tuple of numbers" if length is None else f"{length} numbers"
            raise ValueError(f"{name} is {value!r}, needs {numbers}")
        object.__setattr__(self, name, tuple(value))


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """T tasks of one K, padded to the longest.

    X          (T, N, d), N the largest of the batch; padded points are 0.
    n_samples  (T,) integers: task t has the points X[t, :n_samples[t]].
    labels     (T, N): the component each point came from, -1 at padding.
    truth      the mixtures, batch shape (T,).
    """

    X: Tensor
    n_samples: Tensor
    labels: Tensor
    truth: Mixture

    __repr__ = short_repr

    @property
    def mask(self) -> Tensor:
        """(T, N), True at points and False at padding."""
        return torch.arange(self.X.shape[1], device=self.X.device) < self.n_samples.unsqueeze(-1)


@dataclass(frozen=True)
class MicroBatch:
    """What `draw` needs to make one micro-batch: K, the length N of every task (ascending), a 63-bit seed."""

    n_components: int
    n_samples: tuple[int, ...]
    seed: int


def sample_tasks(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    n_samples: int | Tensor,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TaskBatch:
    """Exactly n_tasks tasks with K = n_components (any K, not only the distribution's), made on the device.

    n_samples is one N for all or a tensor (T,) of integers from 1 to MOST_SAMPLES; `distribution.samples` is
    not read. Draws only from `generator`, which must be one of `device`. Memory: X, the labels and some tens
    of MB. Raises ValueError when the rejection step never accepts, K > d + 1 with a fixed separation, or an
    argument does not fit.
    """
    check_count("n_tasks", n_tasks)
    check_count("n_components", n_components)
    lengths = _lengths(n_samples, n_tasks)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype}, needs torch.float32 or torch.float64")
    device = torch.device(device)
    if generator.device.type != device.type:
        raise ValueError(f"generator is on {generator.device}, needs {device} like the tasks")
    truth = _mixtures(distribution, n_tasks, n_components, generator, dtype, device)
    X, labels = families.points(truth, int(lengths.max()), generator)
    padded = bool(lengths.min() < lengths.max())
    batch = TaskBatch(X, lengths.to(device), labels, truth)
    if padded:
        padding = ~batch.mask
        X.masked_fill_(padding.unsqueeze(-1), 0)
        labels.masked_fill_(padding, -1)
    return batch


def check_samples(name: str, value: int) -> None:
    """Refuse more points a task than MOST_SAMPLES: ValueError."""
    if value > MOST_SAMPLES:
        raise ValueError(f"{name} is {value}, needs at most {MOST_SAMPLES} points a task")


def plan_step(
    distribution: TaskDistribution, n_tasks: int, micro_batches: int, seed: int, step: int
) -> list[MicroBatch]:
    """The micro-batches of training step `step`, n_tasks tasks in all: a pure function of the arguments.

    Micro-batch m has K = components[(step * micro_batches + m) mod len(components)]. The lengths of all tasks
    of one K are drawn together, sorted, and cut into that K's micro-batches, so that little is padded; each
    task's N alone is uniform on `samples`. Seeds are hashes of (seed, step, m) by numpy's SeedSequence; a
    CPU generator of torch reads 32 bits of its seed, so among B micro-batches about B^2 / 2^33 pairs start
    from the same state. ValueError unless micro_batches divides n_tasks.
    """
    check_count("n_tasks", n_tasks)
    check_count("micro_batches", micro_batches)
    check_count("seed", seed, 0)
    check_count("step", step, 0)
    if n_tasks % micro_batches:
        raise ValueError(f"n_tasks is {n_tasks}, needs a multiple of micro_batches = {micro_batches}")
    size = n_tasks // micro_batches
    turns = [
        distribution.components[(step * micro_batches + m) % len(distribution.components)]
        for m in range(micro_batches)
    ]
    low, high = distribution.samples
    rng = np.random.Generator(np.random.PCG64(_entropy(seed, step, LENGTHS)))
    lengths: dict[int, list[list[int]]] = {}
    for K in sorted(set(turns)):
        drawn = np.sort(rng.integers(low, high, size=turns.count(K) * size, endpoint=True))
        lengths[K] = drawn.reshape(-1, size).tolist()
    plan = []
    for m, K in enumerate(turns):
        state = _entropy(seed, step, TASKS, m).generate_state(1, np.uint64)
        plan.append(MicroBatch(K, tuple(lengths[K].pop(0)), int(state[0]) >> 1))
    return plan


def draw(
    distribution: TaskDistribution,
    micro: MicroBatch,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TaskBatch:
    """The tasks of one micro-batch, by `sample_tasks` from a generator of `device` seeded with its seed."""
    generator = torch.Generator(device).manual_seed(micro.seed)
    lengths = torch.tensor(micro.n_samples)
    return sample_tasks(
        distribution, len(lengths), micro.n_components, lengths, generator, dtype=dtype, device=device
    )


def _mixtures(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Mixture:
    means = _means(distribution, n_tasks, n_components, generator, dtype, device)
    weights = families.paper_weights(n_tasks, n_components, generator, dtype, device)
    if distribution.sort_weights:
        weights = weights.sort(-1).values
    if distribution.covariance == "unit":
        return Mixture(weights, means)
    deviations = families.deviations_within(
        means.shape, distribution.deviation_range, generator, dtype, device
    )
    if distribution.covariance == "diagonal":
        return Mixture(weights, means, deviations.square(), "diagonal")
    return Mixture(weights, means, families.rotated_covariances(deviations, generator), "full")


def _means(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    if distribution.separation is not None:
        return families.simplex_means(
            n_tasks,
            n_components,
            distribution.n_features,
            generator,
            separation=distribution.separation,
            dtype=dtype,
            device=device,
        )
    means = families.means_in_box(
        n_tasks,
        n_components,
        distribution.n_features,
        generator,
        box=distribution.box,
        max_cosine=distribution.max_cosine,
        dtype=dtype,
        device=device,
        block=REJECTION_BLOCK,
    )
    if distribution.perturbation:
        noise = torch.randn(means.shape, dtype=dtype, device=device, generator=generator)
        means = means + distribution.perturbation * noise
    return means


def _lengths(n_samples: int | Tensor, n_tasks: int) -> Tensor:
    """n_samples as (T,) int64."""
    if not isinstance(n_samples, Tensor):
        check_count("n_samples", n_samples)
        check_samples("n_samples", n_samples)
        return torch.full((n_tasks,), n_samples)
    if n_samples.dtype not in (torch.int32, torch.int64) or n_samples.shape != (n_tasks,):
        raise ValueError(
            f"n_samples is {n_samples.dtype} of shape {tuple(n_samples.shape)}, "
            f"needs integers of shape ({n_tasks},), one for each task"
        )
    if (n_samples < 1).any():
        raise ValueError(f"n_samples has {int(n_samples.min())}, needs at least 1")
    check_samples("n_samples", int(n_samples.max()))
    return n_samples.long()


def _entropy(seed: int, *path: int) -> np.random.SeedSequence:
    """Seeds are told apart by the path as a spawn key: as entropy, [1, 2] and [1, 2, 0] are the same seed."""
    return np.random.SeedSequence(seed, spawn_key=path)


def _check_number(name: str, value: float, *, least: float = -math.inf, above: float = -math.inf) -> None:
    """Refuse anything but a finite number, at least `least` and larger than `above`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least and value > above):
        bounds = [f">= {least}"] * math.isfinite(least) + [f"> {above}"] * math.isfinite(above)
        raise ValueError(f"{name} is {value!r}, needs a finite number {' and '.join(bounds)}".rstrip())
