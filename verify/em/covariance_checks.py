"""The claims about EM with unknown covariances that ``python -m verify`` checks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from baselines.em_paths import reference_path
from baselines.points import prepare
from baselines.starts import start_covariances
from constructions.em.covariance_step import CovarianceEM
from constructions.em.matrices import SOURCE
from constructions.em.tasks import Range
from constructions.em.weights import em_construction
from constructions.language.rounding import length
from verify.em.covariance_families import MOST_CONDITION, CovarianceTask, Space, drawn
from verify.em.covariance_search import compare, search, size_of
from verify.em.covariance_theorem import Kind
from verify.em.families import Size
from verify.em.own_data import load_bundled
from verify.em.problems import started
from verify.engine.record import Check, Record

KINDS: tuple[Kind, ...] = ("diagonal", "full", "spherical", "tied_spherical", "tied")
TIGHT: dict[Kind, float] = {"diagonal": 10.0, "full": 30.0}
"""What the median of instance bound / error is claimed to be below, of means and of covariances."""

ACCURATE: dict[Kind, int] = {"diagonal": 4096, "full": 2048}
LEVEL = 1e-5
GRID = tuple((d, K, N) for d in (2, 3, 5, 8) for K in (2, 3, 4) for N in (200, 400, 1000))
SMALL_FLOOR, ORDINARY = 1e-12, Range(1e-3, 1e3)
SLOPE_PIECES = (128, 256, 512, 1024, 2048)
TIGHTNESS_FROM = 500


def check_search(seed: int, instances: int) -> list[Record]:
    """Instance and a-priori bound of one step, a fifth of the instances for each kind; and how tight."""
    return [record for kind in KINDS for record in _search(kind, seed, max(1, instances // 5))]


def check_search_float32(seed: int, instances: int) -> list[Record]:
    """The same with the layers in float32; a twentieth for each kind."""
    few = max(1, instances // 20)
    return [_search(kind, seed, few, torch.float32)[0] for kind in KINDS]


def _search(kind: Kind, seed: int, instances: int, dtype: torch.dtype = torch.float64) -> list[Record]:
    check = Check(SOURCE, seed, dtype)
    broken = steps = claimed = 0
    ratios: tuple[list[Tensor], ...] = ([], [], [])
    for found in search(kind, instances, seed, dtype):
        broken, steps = broken + found.broken(), steps + len(found.errors[0])
        claimed += sum(int(bound.isfinite().all(-1).sum()) for bound in found.instance[2:])
        for kept, new in zip(ratios, found.ratios(), strict=True):
            kept.append(new)
    nearest = max((1 / float(torch.cat(part).min()) for part in ratios if sum(map(len, part))), default=0.0)
    claim = f"EM, {_words(kind)}: one step keeps its bounds of weights, means and covariances"
    note = f"{broken} bounds broken; covariances of {claimed} of {steps} steps have a finite bound"
    records = [check.record(claim, 1.0, nearest, steps, broken == 0 and claimed > 0, note)]
    if kind in TIGHT and steps >= TIGHTNESS_FROM:
        medians = [float(torch.cat(part).median()) for part in ratios]
        claim = f"EM, {_words(kind)}: instance bound over error, medians of means and of covariances"
        note = f"weights {medians[0]:.3g}, means {medians[1]:.3g}, covariances {medians[2]:.3g}"
        worst = max(medians)
        records.append(check.record(claim, TIGHT[kind], worst, steps, worst <= TIGHT[kind], note))
    return records


def check_accuracy(seed: int, instances: int) -> list[Record]:
    """One step of 200 tasks of condition up to 20: median errors of weights, means and covariances."""
    return [_accuracy(kind, seed, 200) for kind in ACCURATE]


def _accuracy(kind: Kind, seed: int, tasks: int) -> Record:
    check, g = Check(SOURCE, seed), torch.Generator().manual_seed(seed)
    errors: tuple[list[Tensor], ...] = ([], [], [])
    for index in range(tasks):
        size = Size(*GRID[index % len(GRID)])
        task = ordinary(g, size, kind)
        em = built(kind, task, ACCURATE[kind], 1, 1e-8)
        run = em.run(task.X, task.weights, task.means, task.covariances)
        found = compare(em, task, run, 0, torch.float64)
        for kept, error in zip(errors, found.errors if found else (), strict=bool(found)):
            kept.append(error.amax(-1))
    medians = [float(torch.cat(part).median()) for part in errors]
    claim = f"EM, {_words(kind)}, {ACCURATE[kind]:,} pieces: largest error of a step, median of tasks"
    note = f"weights {medians[0]:.2g}, means {medians[1]:.2g}, covariances {medians[2]:.2g}"
    return check.record(claim, LEVEL, max(medians), tasks, max(medians) <= LEVEL, note)


def check_slope(seed: int, instances: int) -> list[Record]:
    """The error of a step falls as pieces^-2 where the floor does not matter; five steps lose little."""
    return [record for kind in KINDS for record in (_slope(kind, seed), _five_steps(kind, seed))]


def _slope(kind: Kind, seed: int) -> Record:
    check, g = Check(SOURCE, seed), torch.Generator().manual_seed(seed)
    tasks = [ordinary(g, Size(d, 3, 200), kind) for d in (2, 3) for _ in range(30)]
    medians = []
    for pieces in SLOPE_PIECES:
        worst = []
        for task in tasks:
            em = built(kind, task, pieces, 1, SMALL_FLOOR)
            run = em.run(task.X, task.weights, task.means, task.covariances)
            found = compare(em, task, run, 0, torch.float64)
            if found is not None:
                worst.append(max(float(error.max()) for error in found.errors))
        medians.append(float(np.median(worst)))
    slope = float(np.polyfit(np.log(SLOPE_PIECES), np.log(medians), 1)[0])
    claim = f"EM, {_words(kind)}: the error of a step falls as pieces^slope, slope -2 within 10 %"
    note = f"slope {slope:.3f}, medians {medians[0]:.2g} to {medians[-1]:.2g}; the number is |slope + 2|"
    return check.record(claim, 0.2, abs(slope + 2), len(tasks), abs(slope + 2) <= 0.2, note)


def _five_steps(kind: Kind, seed: int) -> Record:
    check, g = Check(SOURCE, seed), torch.Generator().manual_seed(seed)
    once, five = [], []
    for _ in range(50):
        task = ordinary(g, Size(2, 3, 200), kind)
        em = built(kind, task, 1024, 5, 1e-8)
        errors = path_errors(em, task, 5)
        if bool(errors.isfinite().all()):
            once.append(float(errors[0]))
            five.append(float(errors[-1]))
    ratio = float(np.median(five) / np.median(once))
    claim = f"EM, {_words(kind)}: the median error after five steps is at most 10 times that after one"
    note = f"medians {np.median(once):.2g} and {np.median(five):.2g}, 1,024 pieces"
    return check.record(claim, 10.0, ratio, len(once), ratio <= 10, note)


def path_errors(em: CovarianceEM, task: CovarianceTask, steps: int) -> Tensor:
    """(L,) the largest error of a parameter after each step; NaN from where EM or the range is left."""
    run = em.run(task.X, task.weights, task.means, task.covariances, steps=steps)
    kind = em.covariance_type
    path = reference_path(task.X, task.weights, task.means, steps, task.covariances, kind)
    if run.path_covariances is None or path.covariances is None or run.in_range is None:
        raise ValueError(f"{em.construction.name}: a path has covariances, got none")
    errors = []
    for t in range(1, steps + 1):
        found = (
            (run.path_weights[:, t] - path.weights[:, t]).abs(),
            length(run.path_means[:, t] - path.means[:, t]),
            size_of(run.path_covariances[:, t] - path.covariances[:, t], kind),
        )
        worst = torch.stack([error.amax() for error in found]).max()
        good = bool(run.in_range[:, : t + 1].all()) and bool(path.defined[:, :t].all())
        errors.append(worst if good else torch.full_like(worst, math.nan))
    return torch.stack(errors)


def ordinary(g: Generator, size: Size, kind: Kind) -> CovarianceTask:
    """One task of overlapping components, condition up to 20."""
    return drawn(g, Space(40.0, ORDINARY), size, "ordinary", 1, kind)


def built(kind: Kind, task: CovarianceTask, pieces: int, steps: int, floor: float) -> CovarianceEM:
    """The weights for a task: its radius, and eigenvalues of condition 20 around 1, ten times as far."""
    reach = 10 * MOST_CONDITION**0.5
    radius = 1.25 * max(float(task.X.abs().max()), float(task.means.abs().max()))
    options: dict[str, Any] = {"covariance_type": kind, "eigenvalues": (1 / reach, reach)}
    return em_construction(task.X.shape[-1], task.weights.shape[-1], steps, pieces, floor, radius, **options)


def check_real_data(seed: int, instances: int) -> list[Record]:
    """Ten steps on iris, wine and points like those of Old Faithful: within the bound, and small.

    The number is the largest error of a covariance over its norm.
    """
    cases: tuple[tuple[str, Tensor, int, Kind], ...] = (
        ("iris, PCA 2", load_bundled("iris", True, 2).X, 3, "full"),
        ("iris, PCA 4", load_bundled("iris", True, 4).X, 3, "full"),
        ("two-lobed points, d = 2", geyser(seed), 2, "full"),
        ("wine, PCA 4", load_bundled("wine", True, 4).X, 3, "diagonal"),
    )
    return [_real(name, X, K, kind, seed) for name, X, K, kind in cases]


def geyser(seed: int) -> Tensor:
    """(272, 2) standardised points in two lobes that lean alike, as eruptions and waiting times do."""
    g = torch.Generator().manual_seed(seed)
    short, long = (
        torch.tensor(values, dtype=torch.float64) for values in ([[2.0, 54.5], [4.3, 80.0]], [0.26, 5.9])
    )
    labels = (torch.rand(272, generator=g) < 0.64).long()
    z = torch.randn(272, 2, generator=g, dtype=torch.float64)
    z[:, 1] = 0.4 * z[:, 0] + 0.917 * z[:, 1]
    X = short[labels] + z * long * torch.where(labels == 1, 1.5, 1.0)[:, None]
    return (X - X.mean(0)) / X.std(0)


def _real(name: str, X: Tensor, components: int, kind: Kind, seed: int) -> Record:
    check, g = Check(SOURCE, seed), torch.Generator().manual_seed(seed)
    start = started(name, X[None], components, "k-means++", g)
    points = prepare(X[None], None, None)
    S = start_covariances(points, start.means - points.centre, kind)
    if S is None:
        raise ValueError(f"{kind} covariances have a start, got none")
    task = CovarianceTask(name, start.X, start.weights, start.means, S)
    radius = 1.25 * float(X.abs().max())
    options: dict[str, Any] = {"covariance_type": kind, "eigenvalues": (1e-4, 10.0)}
    em = em_construction(X.shape[1], components, 10, 4096, 1e-8, radius, **options)
    run = em.run(task.X, task.weights, task.means, task.covariances)
    path = reference_path(task.X, task.weights, task.means, 10, task.covariances, kind)
    if run.path_covariances is None or path.covariances is None:
        raise ValueError(f"{name}: a path has covariances, got none")
    broken = 0
    for t in range(10):
        found = compare(em, task, run, t, torch.float64)
        broken += found.broken() if found else 1
    error = size_of(run.path_covariances[:, -1] - path.covariances[:, -1], kind)
    share = float((error / size_of(path.covariances[:, -1], kind)).max())
    defined = bool(path.defined.all())
    claim = f"EM, {_words(kind)}, {name}: ten steps of 4,096 pieces, error of a covariance over its norm"
    note = f"{broken} one-step bounds broken; EM is {'defined' if defined else 'not defined'}"
    return check.record(claim, 1e-3, share, 1, share <= 1e-3 and broken == 0 and defined, note)


def _words(kind: Kind) -> str:
    return f"{kind.replace('_', ' ')} covariances"
