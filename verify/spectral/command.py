"""What ``python -m verify.spectral_construction`` does once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.mixture import Mixture
from baselines.spectral import SpectralResult, Status
from console.errors import BadInputError, checking_input
from console.fit_table import Fit, print_agreement, print_fit
from console.folder import file_digest
from console.options import plain_value
from console.terminal import print_verdict, progress, widen
from constructions.language.hypotheses import HypothesisError
from constructions.spectral.exact import Problem
from constructions.spectral.hypotheses import failing_problems
from constructions.spectral.weights import SOURCE
from verify.em.own_data import UserData
from verify.engine.certificates import broken_in, summary
from verify.engine.report import Report
from verify.engine.tables import print_rows
from verify.spectral import sweeps
from verify.spectral.certified import with_certificate
from verify.spectral.measure import Measurement, Row, measure, row
from verify.spectral.options import UNRESOLVED, Options
from verify.spectral.problems import built, components_of, mixture, sizes, started
from verify.spectral.reference import reference
from verify.spectral.resources import EARLIER, earlier_rows
from verify.spectral.sweeps import Point, fitted, swept

COMMAND = "verify.spectral_construction"
GRID_TRIALS, SWEEP_TRIALS = 10, 4
ROWS = (
    *(("problem", "name"), ("tasks", "tasks"), ("error, median", "median"), ("largest", "worst")),
    *(
        ("bound, median", "bound"),
        ("in exact arithmetic", "approximation"),
        ("bound/error, least", "margin", 3),
    ),
    *(("bounded", "claimed"), ("weights", "weights"), ("outside", "failed"), ("bounds", "broken")),
)
SWEEP = (
    *(("sweep", "sweep"), ("at", "at"), ("error", "error"), ("bound", "bound")),
    *(("in exact arithmetic", "approximation"), ("tasks", "tasks"), ("bounds", "broken")),
)


@dataclass(frozen=True)
class Estimate:
    """A component, from 0, that both sides found, in the order found: means in the data's coordinates."""

    component: int
    weight: float
    reference_weight: float
    mean: list[float]
    reference_mean: list[float]


def check(options: Options, out: Path, console: Console) -> int:
    """Run the check that ``options`` describe and return the exit code.

    Raises:
        BadInputError: bad input, before anything is written; the user's own points outside the hypotheses.
    """
    from verify.spectral.figures import NAMES, pictures

    generator = torch.Generator().manual_seed(options.seed)
    with checking_input():
        user, problems = _problems(options, generator)
        if user is not None:
            _check_own(user, problems[user.name], options)
    run = options.plain() | {"data": file_digest(options.data)}
    report = Report(out, COMMAND, NAMES, run, Path(__file__).with_name("report.html"))
    for line in () if user is None else (user.read, *user.remarks):
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    measured: list[Measurement] = []
    points: list[Point] = []
    with checking_input(), progress(len(problems) + (user is None) + 1) as start:
        for name, problem in problems.items():
            start(name)
            measured.append(measure(name, built(problem, options), problem, options))
            if user is not None and measured[0].run.failures:
                _refuse(user, measured[0].run.failures, measured[0].found)
        if user is None:
            start("rounds, pieces, N")
            points = swept(options, min(options.trials or SWEEP_TRIALS, SWEEP_TRIALS), generator)
        start("certificates")
        rows = [with_certificate(row(m), m, options) for m in measured]
    broken = sum(r.broken + r.disagreeing + broken_in(r.certified) for r in rows)
    broken += sum(p.broken for p in points)
    results = _results(options, rows, points, broken, user, measured)
    _print(console, rows, points, results)
    shown = measured[-1].weights
    page = {
        "explanation": shown.explain(),
        "resources": shown.resource_table(),
        "earlier": earlier_rows(shown),
        "earlier_header": EARLIER,
        "certified": [(r.name, 1, r.certified) for r in rows if r.certified],
    }
    return report.write(
        console, results, pictures(measured, points, None if user is None else user.columns), page
    )


def _problems(options: Options, generator: torch.Generator) -> tuple[UserData | None, dict[str, Problem]]:
    user = options.own_points()
    if user is None:
        trials = options.trials or GRID_TRIALS
        return None, {
            f"d={d}, K={K}, N={N}": mixture(d, K, N, trials, options, generator) for d, K, N in sizes(options)
        }
    if options.dims is not None or options.samples is not None:
        raise BadInputError("--dims, --samples are for the random grid")
    K, trials = components_of(options, user), options.trials or 1
    return user, {user.name: started(user.X.expand(trials, -1, -1), K, options, generator)}


def _check_own(user: UserData, problem: Problem, options: Options) -> None:
    """Refuse points outside the hypotheses before anything is run."""
    weights = built(problem, options)
    batch = weights.gather(
        problem.X, problem.n_components, problem.directions, problem.basis, options.variance, options.dtype
    )
    if failures := failing_problems(batch, weights.plan):
        _refuse(user, failures, reference(problem, options.variance, options.steps))


def _refuse(user: UserData, failures: Mapping[int, HypothesisError], found: SpectralResult) -> None:
    """One line, with the baseline's status beside ours."""
    task = min(failures)
    status, theirs = getattr(failures[task], "status", ""), Status(int(found.status[task])).name
    detail = str(failures[task]).partition(": ")[2]
    hint = (
        "The weights are for noise of deviation about 1: scale the data to that"
        if status == "OUT_OF_RANGE"
        else "Fewer --components, another --variance, or moving the origin may help"
    )
    raise BadInputError(f"{user.name}: {detail} ({status}; the baseline says {theirs}). {hint}")


def _estimates(m: Measurement) -> list[Estimate]:
    return [
        Estimate(
            k,
            float(m.run.weights[0, k]),
            float(m.found.weights[0, k]),
            m.run.means[0, k].tolist(),
            m.found.means[0, k].tolist(),
        )
        for k in range(m.problem.n_components)
    ]


def _mixture(m: Measurement) -> Mixture:
    """What the layers found, with the variance that the moments were corrected by."""
    weights, means = (x[0].cpu().double() for x in (m.run.weights, m.run.means))
    return Mixture(weights / weights.sum(), means, m.problem.s[0], "tied_spherical")


def _print_estimates(console: Console, results: dict[str, Any]) -> None:
    found: list[Estimate] = results["estimates"] or []
    if not found:
        return
    console.print(results["data"], markup=False, highlight=False, soft_wrap=True)
    of = [e.weight for e in found], [e.mean for e in found], "tied_spherical", results["variance"]
    print_fit(console, Fit("The fit by the layers", results["columns"], *of))
    if results["agreement"] is not None:
        print_agreement(console, **vars(results["agreement"]))


def _results(
    options: Options,
    rows: list[Row],
    points: list[Point],
    broken: int,
    user: UserData | None,
    measured: list[Measurement],
) -> dict[str, Any]:
    spectrum = [m.spectrum.eigenvalues[0].tolist() for m in measured]
    return {
        "source": SOURCE,
        "passed": broken == 0,
        "broken": broken,
        "seed": options.seed,
        "dtype": plain_value(options.dtype),
        "evaluated": "float64",
        "instances": sum(r.tasks for r in rows) + sum(p.tasks for p in points),
        "settings": options.plain(),
        "rows": rows,
        "sweeps": points,
        "slopes": {"pieces": fitted(points, "pieces"), "N": fitted(points, "N")},
        "spectrum": {m.name: values for m, values in zip(measured, spectrum, strict=True)},
        "resources": measured[-1].weights.resources(),
        "data": None if user is None else user.described,
        "columns": None if user is None else user.columns,
        "variance": None if user is None else float(measured[0].problem.s[0]),
        "agreement": None if user is None else user.agreement(_mixture(measured[0])),
        "remarks": () if user is None else user.remarks,
        "estimates": None if user is None else _estimates(measured[0]),
        "unclaimed": sum(r.tasks - r.claimed for r in rows) + sum(p.tasks - p.claimed for p in points),
        "sweep_size": "d = {}, K = {}, N = {}".format(*sweeps.SIZE),
        "unresolved": bool(user is not None and measured[0].found.unresolved[0]),
    }


def _print(console: Console, rows: list[Row], points: list[Point], results: dict[str, Any]) -> None:
    widen(console)
    print_rows(console, "Means, over the length of the largest one", ROWS, rows)
    print_rows(console, f"{results['sweep_size']}: one loop more or less, medians", SWEEP, points)
    if results["slopes"]["pieces"] is not None:
        console.print(f"slope of the error against pieces: {results['slopes']['pieces']:.3f}", markup=False)
    console.print(summary([r.certified for r in rows if r.certified]), markup=False)
    if results["unclaimed"]:
        runs = f"{results['unclaimed']} of {results['instances']} runs"
        told = f"{runs} have no finite bound: nothing is claimed of them"
        console.print(told, style="yellow", markup=False)
    if disagreeing := sum(r.disagreeing for r in rows):
        console.print(f"{disagreeing} tasks have another status than the baseline's", style="red")
    if results["unresolved"]:
        print(f"warning: {UNRESOLVED}", file=sys.stderr)
    _print_estimates(console, results)
    print_verdict(console, results["passed"])
