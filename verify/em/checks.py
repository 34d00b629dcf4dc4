"""The claims about the EM construction that ``python -m verify`` checks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from constructions.em.readout_bounds import read_out_bound
from constructions.em.shared import SOURCE
from constructions.em.weights import em_construction
from constructions.language.structured.evaluation import Evaluation
from verify.em.compare import StepComparison
from verify.em.measure import measure
from verify.em.problems import random_problem
from verify.em.search import LARGE_SHAPES, search, search_edges
from verify.em.sweep import fitted_slope, sweep
from verify.engine.record import Check, Record, proof
from verify.intervals.rounded_up import rounded_up

FROM_FORMULAS = "structured evaluation: "
SYMBOLIC_SIZES = ((1, 1, 2), (1, 2, 3), (2, 2, 3), (2, 3, 4))
TEN_STEP_TASKS = 100
LEVELS = {"median": (0.5, 2e-4), "90th percentile": (0.9, 3e-3)}
"""Quantile of the tasks, and the error that it is claimed to be below."""
SLOPE_PIECES = [64, 128, 256, 512, 1024, 2048]
STEEP = 10.0
"""A step whose Lipschitz factor is above it carries earlier errors on tenfold: named as a reason."""

TIGHTNESS_FROM = 2000
"""Instances from which a median is claimed: those of one size and family go together; fewer are few sizes."""


def check_exactness(seed: int, instances: int) -> list[Record]:
    """Proposition 0, in symbols, for a few sizes."""
    from verify.em.symbolic import em_step_identity  # loads sympy

    check = proof(f"{SOURCE}; paper_notes/theorem_1_em.md, proposition 0", seed)
    held = [em_step_identity(*size) for size in SYMBOLIC_SIZES]
    claim = "with exact logarithms the attention of both layers is one EM step, K dividing N or not"
    note = "(d, K, N) = " + ", ".join(map(str, SYMBOLIC_SIZES))
    return [check.record(claim, 0.0, 0.0 if all(held) else math.nan, len(held), all(held), note)]


def check_search(seed: int, instances: int) -> list[Record]:
    """Instance and a-priori bound of one step, float64, awkward instances; and how tight the former is."""
    return _search_records(seed, instances, torch.float64)


def check_search_float32(seed: int, instances: int) -> list[Record]:
    """The same with the layers in float32, where rounding takes part; a quarter of the instances."""
    return _search_records(seed, max(1, instances // 4), torch.float32)[:1]


def check_search_edges(seed: int, instances: int) -> list[Record]:
    """The same bounds at floors, separations and radii at the edges of both dtypes; a quarter each."""
    return [_edge_record(seed, max(1, instances // 4), dtype) for dtype in (torch.float64, torch.float32)]


def _edge_record(seed: int, instances: int, dtype: torch.dtype, evaluation: Evaluation = "dense") -> Record:
    check, met = Check(SOURCE, seed, dtype), Met()
    for draw in search_edges(instances, seed, dtype, evaluation):
        met.see(draw.comparison)
    claim = "one step keeps its bounds at the edges: floors from 1e-300, separations to 60, any radius"
    claim = FROM_FORMULAS + claim if evaluation == "structured" else claim
    return met.record(check, claim, f"{met.dying} dying; ")


def check_structured(seed: int, instances: int) -> list[Record]:
    """The structured evaluation keeps the same bounds: at sizes without dense weights, and at the edges."""
    check, met = Check(SOURCE, seed, torch.float64), Met()
    quarter = max(1, instances // 4)
    for draw in search(quarter, seed, torch.float64, LARGE_SHAPES, "structured"):
        met.see(draw.comparison)
    claim = FROM_FORMULAS + "one step keeps its bounds up to d = 64 with 4,096 pieces, d = 128 with 1,024"
    edges = [_edge_record(seed, quarter, dtype, "structured") for dtype in (torch.float64, torch.float32)]
    return [met.record(check, claim), *edges]


class Met:
    """What a search met: how many, what is broken, and the least ratio of a bound to its error."""

    def __init__(self) -> None:
        self.instances = self.broken = self.undefined = self.dying = 0
        self.ratio, self.bound, self.error = math.inf, 0.0, 0.0

    def see(self, c: StepComparison) -> None:
        """Look at all four bounds of a comparison; an error of 0 or an undefined component says nothing."""
        b = c.bound
        self.instances += len(c.mean_error)
        self.broken += int(c.broken().sum())
        self.undefined += int((~c.defined).sum())
        self.dying += int((b.dying & c.defined).sum())
        bounds = (b.mean_instance, b.weight_instance, b.mean_apriori, b.weight_apriori)
        for bound, error in zip(bounds, (c.mean_error, c.weight_error) * 2, strict=True):
            ratio = (bound / error).masked_fill(~c.defined, math.inf).nan_to_num(math.inf)
            place = int(ratio.argmin())
            if float(ratio.flatten()[place]) < self.ratio:
                self.ratio = float(ratio.flatten()[place])
                self.bound, self.error = float(bound.flatten()[place]), float(error.flatten()[place])

    def record(self, check: Check, claim: str, also: str = "") -> Record:
        """The claim that nothing is broken, with the bound that came nearest to its error."""
        note = f"{self.broken} components broken; {also}{self.undefined} where EM is 0/0 not compared"
        kept, source = self.broken == 0, "; lemmas 3 to 6"
        return check.record(claim, self.bound, self.error, self.instances, kept, note, source=source)


def _search_records(seed: int, instances: int, dtype: torch.dtype) -> list[Record]:
    check, met = Check(SOURCE, seed, dtype), Met()
    refreshed_ratios: list[Tensor] = []
    for draw in search(instances, seed, dtype):
        met.see(draw.comparison)
        if draw.refreshed and draw.problem.sizes[0] >= 3 and draw.pieces >= 128:
            refreshed_ratios.append(draw.comparison.ratio())
    kept = met.record(check, "one step keeps its instance and a-priori bounds, means and weights")
    if instances < TIGHTNESS_FROM:
        return [kept]
    finite = torch.cat(refreshed_ratios) if refreshed_ratios else torch.empty(0)
    finite = finite[finite.isfinite()]
    median = float(finite.median()) if len(finite) else math.nan
    claim = "instance bound over error is at most 5 in the median (d >= 3, pieces >= 128, no exact start)"
    note = "instances counts components"
    tight = check.record(claim, 5.0, median, len(finite), median <= 5.0, note, source="; lemmas 4 and 5")
    return [kept, tight]


def check_slope(seed: int, instances: int) -> list[Record]:
    """The error of a step falls as pieces^-2."""
    check = Check(f"{SOURCE}; lemma 1", seed)
    generator = torch.Generator().manual_seed(seed)
    slopes = []
    tasks = 0
    for dim, components, samples, trials in ((1, 2, 64, 200), (3, 4, 103, 80), (8, 5, 128, 20)):
        problem = random_problem(dim, components, samples, "random-points", trials, generator)
        tasks += trials
        points = sweep(problem, SLOPE_PIECES, "optimal", 1e-8, problem.smallest_radius(), torch.float64)
        slopes.append(fitted_slope(points))
    furthest = max(slopes, key=lambda slope: abs(slope + 2))
    off = abs(furthest + 2)
    note = "d = 1, 3, 8: " + ", ".join(f"{slope:.2f}" for slope in slopes)
    claim = "the slope of log error over log pieces is -2 within 0.2"
    return [check.record(claim, 0.2, off, tasks, off <= 0.2, note)]


def check_ten_steps(seed: int, instances: int) -> list[Record]:
    """Ten steps at d = 8, K = 5, N = 128, 2,048 pieces, from random points and from N(0, I)."""
    records = []
    for start in ("random-points", "normal"):
        check = Check(SOURCE, seed)
        generator = torch.Generator().manual_seed(seed)
        problem = random_problem(8, 5, 128, start, TEN_STEP_TASKS, generator)
        em = em_construction(8, 5, 10, 2048, radius=problem.smallest_radius())
        m = measure(em, problem, torch.float64, "cpu", seed)
        comparable = m.comparable[:, -1]
        errors = m.path_error[:, -1].amax(-1)[comparable]
        dying = torch.stack([step.bound.dying.any(-1) for step in m.steps]).any(0)[comparable]
        steep = (m.bounds.lipschitz.amax(1) > STEEP)[comparable]
        held = int((m.bounds.holds[:, -1] & m.comparable[:, -1]).sum())
        broken = sum(record.broken.total for record in m.records)
        for name, (quantile, level) in LEVELS.items():
            found = float(errors.quantile(quantile))
            large = errors > level
            note = (
                f"{int(large.sum())} above, {int(dying[large].sum())} of them with a dying component, "
                f"{int(steep[large].sum())} with a Lipschitz factor above {STEEP:g}; "
                f"path bound claimed for {held}; EM is 0/0 in {int((~comparable).sum())}; broken: {broken}"
            )
            claim = f"ten steps from {start}: largest error of a mean, {name} of tasks, <= {level:g}"
            passed = found <= level and m.passed
            records.append(check.record(claim, level, found, len(errors), passed, note))
    return records


def check_read_out(seed: int, instances: int) -> list[Record]:
    """The attentive pooling gives the means to leakage and rounding, and softmax(log pi) to its bound."""
    check = Check(f"{SOURCE}; paper_notes/theorem_1_em.md, read-out", seed)
    generator = torch.Generator().manual_seed(seed)
    worst: tuple[float, float] = (1.0, 0.0)
    tasks = 0
    for dim, components, samples in ((1, 1, 5), (2, 3, 50), (8, 5, 128)):
        problem = random_problem(dim, components, samples, "random-points", 50, generator)
        em = em_construction(dim, components, 2, 256, radius=problem.smallest_radius())
        run = em.run(problem.X, problem.weights, problem.means, evaluation="dense")
        tasks += len(problem)
        off = (run.means - run.path_means[:, -1], run.weights - run.path_weights[:, -1])
        bounds, _ = rounded_up(lambda em=em, N=samples, K=components: tuple(read_out_bound(em, N, K)))
        for bound, difference in zip(map(float, bounds), off, strict=True):
            error = float(difference.abs().max())
            if error / bound > worst[1] / worst[0]:
                worst = (bound, error)
    claim = "the paper's read-out gives the means and weights of the last step"
    return [check.record(claim, *worst, tasks, worst[1] <= worst[0])]
