"""What ``python -m verify.em_construction`` does once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from console.errors import checking_input
from console.folder import file_digest
from console.options import plain_value
from console.terminal import progress
from console.typed_json import to_plain
from constructions.em.shared import SOURCE
from verify.em.asked import construction_of, problems_of, range_of
from verify.em.certified import with_certificates
from verify.em.estimates import as_estimates, best_estimate
from verify.em.measure import Measurement, measure
from verify.em.options import Options
from verify.em.own_data import UserData
from verify.em.path_picture import View
from verify.em.played import measurement_to_play, played
from verify.em.player import check_player, em_scene
from verify.em.problems import Problem, random_problem
from verify.em.records import pieces_mean
from verify.em.scale import scale_remark
from verify.em.sweep import SweepPoint, slopes, sweep
from verify.em.table import print_estimates, print_results
from verify.engine.certificates import broken_in, summary
from verify.engine.report import Report
from verify.engine.theorem import rounded
from verify.player.page import PAGE, player_page

COMMAND = "verify.em_construction"


def check(options: Options, out: Path, console: Console, player: bool = False) -> int:
    """Run the check that ``options`` describe and return the exit code; with ``player`` also its page.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    from verify.em.figures import NAMES, pictures

    generator = torch.Generator().manual_seed(options.seed)
    with checking_input():
        user, problems, centre = problems_of(options, generator)
        problems = [rounded(problem, options.dtype) for problem in problems]
        if player:
            check_player(options, problems)
        constructions = {
            p.label: [construction_of(options, p, count) for count in options.pieces] for p in problems
        }
    run = options.plain() | {"data": file_digest(options.data), "init": file_digest(options.init)}
    report = Report(out, COMMAND, NAMES, run, Path(__file__).with_name("report.html"), (PAGE,))
    if user is not None and user.read:
        console.print(user.read, markup=False, highlight=False, soft_wrap=True)
        for remark in user.remarks:
            _warn(remark)
    measurements: list[Measurement] = []
    swept = problems if len(options.pieces) > 1 else []
    splits = 2 if options.covariance == "unit" else 1
    with progress(len(problems) * len(options.pieces) + splits * len(swept)) as start:
        for problem in problems:
            for em in constructions[problem.label]:
                start(f"{problem.label}, {pieces_mean(em)} pieces")
                on = options.dtype, options.device, options.seed, options.evaluation
                finest = em is constructions[problem.label][-1]
                measured = measure(em, problem, *on, printed=finest or bool(options.certify))
                measurements.append(with_certificates(measured, options, finest))
        best, equal = _sweeps(options, swept, generator if user is None else None, start)
    results = _results(options, measurements, best, equal, user, centre)
    view = None if user is None or centre is None else (user.columns, centre)
    pages = _play(measurements, results, view) if player else {}
    print_results(console, measurements, best, equal)
    if user is not None:
        console.print(results["data"], markup=False, highlight=False, soft_wrap=True)
        print_estimates(console, results["estimates"], user.columns, results["agreement"], options.steps)
    certified = [
        (f"{r.setting.name}, {r.setting.pieces_mean} pieces", r.step, r.certified)
        for m in measurements
        for r in m.records
        if r.certified
    ]
    console.print(summary([certificate for _, _, certificate in certified]), markup=False)
    if results["scale"]:
        _warn(results["scale"])
    page = {
        "explanation": measurements[-1].em.explain(),
        "resources": measurements[-1].em.resource_table(),
        "norms": measurements[-1].em.resources().table(),
        "last": [to_plain(m.records[-1]) for m in measurements],
        "kind": options.covariance,
        "certified": certified,
        "ranges": {m.problem.name: m.em.eigenvalues for m in measurements},
    }
    return report.write(console, results, pictures(measurements, best, equal, view), page, pages)


def _play(measurements: list[Measurement], results: dict[str, Any], view: View | None) -> dict[str, str]:
    """The page of the player; its numbers go into the results too."""
    chosen = measurement_to_play(measurements)
    results["played"] = played(chosen)
    return {PAGE: player_page(em_scene(chosen, results["played"], view), COMMAND)}


def _sweeps(
    options: Options,
    problems: list[Problem],
    generator: torch.Generator | None,
    start: Callable[[str], None],
) -> tuple[dict[str, list[SweepPoint]], dict[str, list[SweepPoint]]]:
    """Error against pieces by the best split and by an equal one; only the latter for kinds other than unit.

    ``generator`` of random problems, of which more are drawn.
    """
    best: dict[str, list[SweepPoint]] = {}
    equal: dict[str, list[SweepPoint]] = {}
    for problem in problems:
        many = problem if generator is None else _more_trials(problem, generator)
        counts = sorted({*options.pieces, *(2 * p for p in options.pieces[:-1])})
        on = options.floor, many.smallest_radius(), options.dtype, options.evaluation
        if options.covariance != "unit":
            start(f"{problem.label}, error against pieces")
            span = range_of(options, rounded(many, options.dtype), widened=True)
            equal[problem.label] = sweep(many, counts, "equal", *on, span)
            continue
        start(f"{problem.label}, error against pieces, best split")
        best[problem.label] = sweep(many, counts, "optimal", *on)
        start(f"{problem.label}, error against pieces, equal split")
        equal[problem.label] = sweep(many, options.pieces, "equal", *on)
    return best, equal


def _more_trials(problem: Problem, generator: torch.Generator) -> Problem:
    dim, components, samples = problem.sizes
    # A fitted slope needs many components: more tasks where one is cheap, in proportion to 1/(d + K)^2.
    trials = min(200, max(10, 2500 // (dim + components) ** 2))
    kind = problem.covariance_type
    return random_problem(dim, components, samples, problem.start, trials, generator, kind)


def _results(
    options: Options,
    measurements: list[Measurement],
    best: dict[str, list[SweepPoint]],
    equal: dict[str, list[SweepPoint]],
    user: UserData | None,
    centre: Tensor | None,
) -> dict[str, Any]:
    records = [record for m in measurements for record in m.records]
    unit = options.covariance == "unit"
    broken = sum(record.broken.total + broken_in(record.certified) for record in records)
    results: dict[str, Any] = {
        "source": SOURCE if unit else measurements[-1].em.construction.source,
        "passed": broken == 0,
        "broken": broken,
        "seed": options.seed,
        "dtype": plain_value(options.dtype),
        "instances": sum(len(m.problem) for m in measurements),
        "settings": options.plain(),
        "records": records,
        "slopes": slopes(best or equal),
        "sweeps": {"optimal": list(chain(*best.values())), "equal": list(chain(*equal.values()))},
        "resources": measurements[-1].em.resources(),
        "estimates": None,
        "agreement": None,
        "data": None,
        "columns": None if user is None else user.columns,
        "remarks": [],
        "scale": None,
    }
    if user is not None and centre is not None:
        results["data"] = user.described
        found = best_estimate(measurements)
        results["estimates"] = as_estimates(found, centre, options.covariance)
        results["remarks"] = user.remarks
        if found is not None:
            results["agreement"] = user.agreement(found.moved(centre))
        if found is not None and unit:
            results["scale"] = scale_remark(found, "standardised" in user.treatment)
    return results


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
