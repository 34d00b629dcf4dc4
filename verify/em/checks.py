"""The claims about the EM construction that ``python -m verify`` checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from constructions.em.weights import SOURCE, em_construction
from constructions.language.readout import SHARPNESS
from constructions.language.rounding import gamma, unit_roundoff
from verify.em.compare import StepComparison
from verify.em.measure import measure
from verify.em.problems import random_problem
from verify.em.search import search, search_edges
from verify.em.sweep import fitted_slope, sweep
from verify.em.symbolic import em_step_identity
from verify.engine.record import Record

SYMBOLIC_SIZES = ((1, 1, 2), (1, 2, 3), (2, 2, 3), (2, 3, 4))
TEN_STEP_TASKS = 100
STEEP = 10.0
"""A step whose Lipschitz factor is above it carries earlier errors on tenfold: named as a reason."""

TIGHTNESS_FROM = 2000
"""Instances from which a median is claimed: those of one size and family go together; fewer are few sizes."""


def check_exactness(seed: int, instances: int) -> list[Record]:
    """Proposition 0, in symbols, for a few sizes."""
    began = time.perf_counter()
    held = [em_step_identity(*size) for size in SYMBOLIC_SIZES]
    return [
        Record(
            claim="with exact logarithms the attention of both layers is one EM step, K dividing N or not",
            source=f"{SOURCE}; paper_notes/theorem_1_em.md, proposition 0",
            evidence="proved",
            bound=0.0,
            observed=0.0 if all(held) else math.nan,
            instances=len(held),
            dtype="exact",
            seed=seed,
            seconds=time.perf_counter() - began,
            passed=all(held),
            note="(d, K, N) = " + ", ".join(map(str, SYMBOLIC_SIZES)),
        )
    ]


def check_search(seed: int, instances: int) -> list[Record]:
    """Instance and a-priori bound of one step, float64, awkward instances; and how tight the former is."""
    return _search_records(seed, instances, torch.float64)


def check_search_float32(seed: int, instances: int) -> list[Record]:
    """The same with the layers in float32, where rounding takes part; a quarter of the instances."""
    return _search_records(seed, max(1, instances // 4), torch.float32)[:1]


def check_search_edges(seed: int, instances: int) -> list[Record]:
    """The same bounds at floors, separations and radii at the edges of both dtypes; a quarter each."""
    return [_edge_record(seed, max(1, instances // 4), dtype) for dtype in (torch.float64, torch.float32)]


def _edge_record(seed: int, instances: int, dtype: torch.dtype) -> Record:
    began = time.perf_counter()
    searched = broken = undefined = dying = 0
    worst = Worst()
    for draw in search_edges(instances, seed, dtype):
        c = draw.comparison
        searched += len(c.mean_error)
        broken += int(c.broken().sum())
        undefined += int((~c.defined).sum())
        dying += int((c.bound.dying & c.defined).sum())
        worst.see(c)
    return Record(
        claim="one step keeps its bounds at the edges: floors from 1e-300, separations to 60, any radius",
        source=f"{SOURCE}; lemmas 3 to 6",
        evidence="sampled",
        bound=worst.bound,
        observed=worst.error,
        instances=searched,
        dtype=str(dtype).removeprefix("torch."),
        seed=seed,
        seconds=time.perf_counter() - began,
        passed=broken == 0,
        note=f"{broken} components broken; {dying} dying; {undefined} where EM is 0/0 not compared",
    )


class Worst:
    """The least ratio of a bound to its error among all that it has seen."""

    def __init__(self) -> None:
        self.ratio, self.bound, self.error = math.inf, 0.0, 0.0

    def see(self, c: StepComparison) -> None:
        """Look at all four bounds of a comparison; an error of 0 or an undefined component says nothing."""
        b = c.bound
        bounds = (b.mean_instance, b.weight_instance, b.mean_apriori, b.weight_apriori)
        for bound, error in zip(bounds, (c.mean_error, c.weight_error) * 2, strict=True):
            ratio = (bound / error).masked_fill(~c.defined, math.inf).nan_to_num(math.inf)
            place = int(ratio.argmin())
            if float(ratio.flatten()[place]) < self.ratio:
                self.ratio = float(ratio.flatten()[place])
                self.bound, self.error = float(bound.flatten()[place]), float(error.flatten()[place])


def _search_records(seed: int, instances: int, dtype: torch.dtype) -> list[Record]:
    began = time.perf_counter()
    searched, broken, undefined = 0, 0, 0
    worst = Worst()
    refreshed_ratios: list[Tensor] = []
    for draw in search(instances, seed, dtype):
        c = draw.comparison
        searched += len(c.mean_error)
        broken += int(c.broken().sum())
        undefined += int((~c.defined).sum())
        worst.see(c)
        if draw.refreshed and draw.size.dim >= 3 and draw.pieces >= 128:
            refreshed_ratios.append(c.ratio())
    name, seconds = str(dtype).removeprefix("torch."), time.perf_counter() - began
    kept = Record(
        claim="one step keeps its instance and a-priori bounds, means and weights",
        source=f"{SOURCE}; lemmas 3 to 6",
        evidence="sampled",
        bound=worst.bound,
        observed=worst.error,
        instances=searched,
        dtype=name,
        seed=seed,
        seconds=seconds,
        passed=broken == 0,
        note=f"{broken} components broken; {undefined} where EM is 0/0 not compared",
    )
    finite = torch.cat(refreshed_ratios) if refreshed_ratios else torch.empty(0)
    finite = finite[finite.isfinite()]
    median = float(finite.median()) if len(finite) else math.nan
    tight = Record(
        claim="instance bound over error is at most 5 in the median (d >= 3, pieces >= 128, no exact start)",
        source=f"{SOURCE}; lemmas 4 and 5",
        evidence="sampled",
        bound=5.0,
        observed=median,
        instances=len(finite),
        dtype=name,
        seed=seed,
        seconds=seconds,
        passed=median <= 5.0,
        note="instances counts components",
    )
    return [kept, tight] if instances >= TIGHTNESS_FROM else [kept]


def check_slope(seed: int, instances: int) -> list[Record]:
    """The error of a step falls as pieces^-2."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    slopes = []
    tasks = 0
    for dim, components, samples, trials in ((1, 2, 64, 200), (3, 4, 103, 80), (8, 5, 128, 20)):
        problem = random_problem(dim, components, samples, "random-points", trials, generator)
        tasks += trials
        points = sweep(
            problem,
            [64, 128, 256, 512, 1024, 2048],
            "optimal",
            1e-8,
            problem.smallest_radius(),
            torch.float64,
        )
        slopes.append(fitted_slope(points))
    furthest = max(slopes, key=lambda slope: abs(slope + 2))
    return [
        Record(
            claim="the slope of log error over log pieces is -2 within 0.2",
            source=f"{SOURCE}; lemma 1",
            evidence="sampled",
            bound=0.2,
            observed=abs(furthest + 2),
            instances=tasks,
            dtype="float64",
            seed=seed,
            seconds=time.perf_counter() - began,
            passed=abs(furthest + 2) <= 0.2,
            note="d = 1, 3, 8: " + ", ".join(f"{slope:.2f}" for slope in slopes),
        )
    ]


def check_ten_steps(seed: int, instances: int) -> list[Record]:
    """Ten steps at d = 8, K = 5, N = 128, 2,048 pieces, from random points and from N(0, I)."""
    records = []
    for start in ("random-points", "normal"):
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        problem = random_problem(8, 5, 128, start, TEN_STEP_TASKS, generator)
        em = em_construction(8, 5, 10, 2048, radius=problem.smallest_radius())
        m = measure(em, problem, torch.float64, "cpu", seed)
        comparable = m.comparable[:, -1]
        errors = m.path_error[:, -1].amax(-1)[comparable]
        dying = torch.stack([step.bound.dying.any(-1) for step in m.steps]).any(0)[comparable]
        steep = (m.bounds.lipschitz.amax(1) > STEEP)[comparable]
        held = m.bounds.holds[:, -1] & m.comparable[:, -1]
        broken = sum(sum(record["broken"].values()) for record in m.records)
        levels = {"median": (0.5, 2e-4), "90th percentile": (0.9, 3e-3)}
        for name, (quantile, level) in levels.items():
            found = float(errors.quantile(quantile))
            large = int((errors > level).sum())
            records.append(
                Record(
                    claim=f"ten steps from {start}: largest error of a mean, {name} of tasks, <= {level:g}",
                    source=SOURCE,
                    evidence="sampled",
                    bound=level,
                    observed=found,
                    instances=len(errors),
                    dtype="float64",
                    seed=seed,
                    seconds=time.perf_counter() - began,
                    passed=found <= level and m.passed,
                    note=f"{large} above, {int(dying[errors > level].sum())} of them with a dying component, "
                    f"{int(steep[errors > level].sum())} with a Lipschitz factor above {STEEP:g}; "
                    f"path bound claimed for {int(held.sum())}; EM is 0/0 in {int((~comparable).sum())}; "
                    f"broken: {broken}",
                )
            )
    return records


def check_read_out(seed: int, instances: int) -> list[Record]:
    """The attentive pooling gives the means to leakage and rounding, and softmax(log pi) to its bound."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    worst: tuple[float, float] = (1.0, 0.0)
    tasks = 0
    for dim, components, samples in ((1, 1, 5), (2, 3, 50), (8, 5, 128)):
        problem = random_problem(dim, components, samples, "random-points", 50, generator)
        em = em_construction(dim, components, 2, 256, radius=problem.smallest_radius())
        run = em.run(problem.X, problem.weights, problem.means)
        u = unit_roundoff(torch.float64)
        chord = em.log_pi.approximation_error + 2 * em.log_pi.rounding_error(torch.float64)
        # Each pooled number is an average of N values at most R in size: leakage, then rounding of the sum.
        pooled = 2 * em.radius * (samples * math.exp(-SHARPNESS) + gamma(4 * samples + 10, u))
        # log pi is pooled too, with log floor the largest value; softmax turns an error e into tanh(e / 2).
        logs = (
            2
            * -math.log(em.floor)
            * (samples * math.exp(-SHARPNESS) + gamma(4 * samples + 10 + components, u))
        )
        weight_bound = math.tanh((chord + 2 * logs) / 4) + gamma(4 * components + 10, u)
        observed: list[tuple[float, Callable[[], Tensor]]] = [
            (pooled, lambda run=run: run.means - run.path_means[:, -1]),
            (weight_bound, lambda run=run: run.weights - run.path_weights[:, -1]),
        ]
        tasks += len(problem.X)
        for bound, difference in observed:
            error = float(difference().abs().max())
            if error / bound > worst[1] / worst[0]:
                worst = (bound, error)
    return [
        Record(
            claim="the paper's read-out gives the means and weights of the last step",
            source=f"{SOURCE}; paper_notes/theorem_1_em.md, read-out",
            evidence="sampled",
            bound=worst[0],
            observed=worst[1],
            instances=tasks,
            dtype="float64",
            seed=seed,
            seconds=time.perf_counter() - began,
            passed=worst[1] <= worst[0],
        )
    ]
