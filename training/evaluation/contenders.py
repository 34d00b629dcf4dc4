"""What is measured: a network, alone or with EM layers behind it, and the methods of baselines.methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.methods import METHODS, Method, MethodResult
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.evaluation.grids import Cell
from training.model.tgmm import TGMM
from training.serving.views import likelier, signed_permutations

ORACLE, NEAR = "em-truth", "em-off-truth"
SLOW_TASKS = 128
"""Tasks that a slow method is measured on at most, the first of the cell."""
POINTS_AT_ONCE = 2**14
"""Points that EM layers work through at a time: at d = 8 and 128 pieces about 150 MB."""
PAIRS_A_CELL = 2**31
"""Pairs of points of one task that a network with attention meets in a cell: 128 tasks of N = 4,096.

A pair took the network of d = 8 about 6e-8 s on one core: some two minutes a cell, 10 minutes a task at
N = 100,000. All other methods grow with N alone, and a cell's points are bounded (grids.LONG).
"""

SECONDS_A_POINT = {"posterior-mean": 1e-2}
"""Of methods that may take longer than MOST_SECONDS, on one core at d = 8, K = 5; they grow with N."""
MOST_SECONDS = 60
"""A task of a slow method takes at most, by that."""


@dataclass(frozen=True)
class Contender:
    """Something that estimates mixtures.

    name, description  for tables.
    run                (X (T, N, d), K, generator, truth or None) -> MethodResult.
    refusal            why it has nothing to say on a cell, or "".
    prepare            (X, K) -> None, before the clock starts: what is done once and not for each task.
    knows_truth        it is given the truth.
    knows_prior        it knows the distribution of the paper's tasks.
    slow               it is measured on fewer tasks.
    quadratic          its work grows with N^2: it has no more than PAIRS_A_CELL.
    moved              Cell.start makes a difference to it.
    """

    name: str
    description: str
    run: Callable[[Tensor, int, torch.Generator, Mixture | None], MethodResult]
    refusal: Callable[[Cell], str]
    prepare: Callable[[Tensor, int], None] | None = None
    knows_truth: bool = False
    knows_prior: bool = False
    slow: bool = False
    quadratic: bool = False
    moved: bool = False

    __repr__ = short_repr

    def most_tasks(self, cell: Cell, n_tasks: int) -> int:
        """How many of n_tasks tasks it is given, the first ones."""
        most = min(n_tasks, SLOW_TASKS) if self.slow else n_tasks
        return min(most, PAIRS_A_CELL // cell.n_samples**2) if self.quadratic else most


def method_contenders(names: Sequence[str], covariance: str = "unit") -> list[Contender]:
    """The methods of these names, the oracle left out; with diagonal tasks, fitted as unit and as diagonal.

    Raises ValueError for an unknown name.
    """
    found = []
    for name in names:
        method = named_method(name)
        if method.knows_truth:
            continue
        found.append(_of_method(method, "unit"))
        if covariance != "unit" and covariance in method.covariance_types:
            found.append(_of_method(method, covariance))
    return found


def named_method(name: str) -> Method:
    """The entry of METHODS; ValueError for an unknown name."""
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def oracle(covariance: str) -> Contender:
    """EM from the truth, which the errors of all others are split by."""
    return _of_method(METHODS[ORACLE], covariance)


def em_off_the_truth(sigma: float) -> Contender:
    """EM from the truth whose means are moved by sigma N(0, I); weights and covariances start as they are.

    The noise before the factor is the same for every sigma: one task moves along a ray.
    """

    def run(X: Tensor, K: int, generator: torch.Generator, truth: Mixture | None) -> MethodResult:
        if truth is None:
            raise ValueError(f"truth is None, needs the Mixture of the tasks for {NEAR}")
        noise = torch.randn(truth.means.shape, generator=generator, dtype=X.dtype, device=X.device)
        start = replace(truth, means=truth.means + sigma * noise)
        kind = truth.covariance_type
        return METHODS[ORACLE].fit(X, K, generator, truth=start, covariance_type=kind)

    described = "EM from the true weights and the true means + sigma N(0, I), an oracle that is led astray"
    return Contender(NEAR, described, run, lambda cell: "", knows_truth=True, moved=True)


def _of_method(method: Method, covariance: str) -> Contender:
    def run(X: Tensor, K: int, generator: torch.Generator, truth: Mixture | None) -> MethodResult:
        return method.fit(X, K, generator, truth=truth, covariance_type=covariance)

    def refusal(cell: Cell) -> str:
        most = method.most_components(cell.n_features)
        if most is not None and cell.n_components > most:
            return f"impossible: needs K <= d = {most}, linearly independent means"
        seconds = SECONDS_A_POINT.get(method.name, 0.0) * cell.n_samples
        if seconds > MOST_SECONDS:
            return (
                f"some {seconds:.0f} s a task on one core, growing with N; at most {MOST_SECONDS} s are given"
            )
        return ""

    suffix = "" if covariance == "unit" or method.knows_truth else f", {covariance}"
    return Contender(
        method.name + suffix,
        f"{method.description} ({method.source})",
        run,
        refusal,
        knows_truth=method.knows_truth,
        knows_prior=method.knows_prior,
        slow=method.slow,
    )


def network_contenders(model: TGMM, polish: int, label: str = "network", views: int = 1) -> list[Contender]:
    """The network alone and, for polish > 0, with so many constructed EM layers in the same forward pass.

    For views > 1 also the likeliest of so many views (views.py), EM layers included if there are any. A
    network that estimates covariances has no EM layers: their lines are refused everywhere, with the reason.
    """
    alone = _of_network(model, label, "the learned network alone", "")
    if not polish and views == 1:
        return [alone]
    behind = f" + {polish} EM layers" if polish else ""
    described = "the learned network"
    if polish:
        described += f" and {polish} constructed EM steps (two layers each), one forward pass"
    impossible = bool(polish and model.config.covariance != "unit")
    reason = "EM layers need unit covariances, this model estimates others" if impossible else ""
    whole = model if impossible or not polish else model.with_polish(polish)
    found = [alone, _of_network(whole, label + behind, described, reason)] if polish else [alone]
    if views > 1:
        described += f"; on {views} signed permutations of the coordinates, the likeliest kept"
        found.append(_of_network(whole, f"{label}, {views} views{behind}", described, reason, views))
    return found


def _of_network(model: TGMM, name: str, description: str, always: str, views: int = 1) -> Contender:
    config = model.config
    quadratic = config.backbone == "transformer"
    images = signed_permutations(config.n_features, views)

    def estimate(X: Tensor, K: int) -> Mixture:
        best = model.estimate(X, K)
        for look, image in enumerate(images[1:].to(X), 1):
            seen = model.estimate(X @ image.mT, K, look=look)
            best = likelier(replace(seen, means=seen.means @ image.to(seen.means)), best, X.double(), None)
        return best

    def run(X: Tensor, K: int, generator: torch.Generator, truth: Mixture | None) -> MethodResult:
        at_once = len(X) if model.polish is None else max(1, POINTS_AT_ONCE // X.shape[1])
        parts = [estimate(X[i : i + at_once], K) for i in range(0, len(X), at_once)]
        failed = torch.zeros(len(X), dtype=torch.bool)
        return MethodResult(_joined(parts), failed, ~failed)

    def refusal(cell: Cell) -> str:
        if cell.n_features != config.n_features:
            return f"this model serves d = {config.n_features}"
        if cell.n_components not in config.components:
            return f"this model serves K = {', '.join(map(str, config.components))}"
        if config.max_positions and cell.n_samples > config.max_positions:
            return f"this model serves at most N = {config.max_positions} points"
        if quadratic and 2 * cell.n_samples**2 > PAIRS_A_CELL:
            return (
                f"attention takes time in N^2, {cell.n_samples**2:.1e} pairs of points a task: "
                f"two tasks have more than the {PAIRS_A_CELL:.1e} of a cell"
            )
        return always

    def prepare(X: Tensor, K: int) -> None:
        """Builds the EM layers for the range of the data: that of the task with the largest coordinate."""
        widest = int(X.abs().amax((1, 2)).argmax())
        model.estimate(X[widest : widest + 1], K)

    return Contender(name, description, run, refusal, prepare, quadratic=quadratic)


def _joined(parts: list[Mixture]) -> Mixture:
    covariances = None
    if parts[0].covariance_type != "unit":
        covariances = torch.cat([part.covariances for part in parts if part.covariances is not None])
    weights, means = (torch.cat([getattr(part, name) for part in parts]) for name in ("weights", "means"))
    return Mixture(weights, means, covariances, parts[0].covariance_type)
