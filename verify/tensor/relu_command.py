"""What ``python -m verify.tensor_power`` does once its options are read."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from console.errors import checking_input
from console.terminal import progress, widen
from constructions.tensor_power.relu import SOURCE, tensor_power_construction
from verify.engine.certificates import broken_in
from verify.engine.report import Report
from verify.engine.tables import print_rows
from verify.player.page import PAGE
from verify.resource_rows import tensor_power_resources
from verify.tensor.exact_checks import check_rational, check_symbolic
from verify.tensor.options import problems
from verify.tensor.outcome import Outcome
from verify.tensor.player import play, problem_to_play
from verify.tensor.points import PointsFound, find_components, print_found, whitened
from verify.tensor.points_options import PointsOptions
from verify.tensor.relu_rows import (
    Growth,
    OneStep,
    normalised_rows,
    one_step_rows,
    plain_rows,
    recovery_rows,
)
from verify.tensor.rows import PathRow, Recovered

COMMAND = "verify.tensor_power"
DEFAULT_DIMS, DEFAULT_TRIALS, MOST_STEPWISE_DIM = [2, 8, 32, 64], 5, 32
"""Beyond d = 32 the default grid takes one step only: a step there costs seconds."""
RECOVERED = ((2, 2), (8, 8), (16, 5))
SHOWN_DIM = 2
ONE_STEP = (
    *(("tensor", "problem"), ("heads", "form"), ("number", "heads"), ("instances", "instances")),
    *(("error/scale", "error"), ("bound/scale", "bound"), ("bound", "broken")),
)


def check(
    options: PointsOptions, out: Path, pieces: int, instances: int, console: Console, player: bool = False
) -> int:
    """Run the check that ``options`` describe and return the exit code; with ``player`` also its page.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    from verify.tensor.relu_figures import NAMES, pictures

    generator = torch.Generator().manual_seed(options.seed)
    on = options.runtime
    with checking_input():
        user = options.own_points()
        points = None
        if user is not None:
            points = whitened(user, user.components(options.components), options.variance, generator)
    own = None if points is None else (points.name, points.T)
    given = problems(options, DEFAULT_DIMS, DEFAULT_TRIALS, generator, own=own)
    to_play = problem_to_play(given, options.steps) if player else None
    chosen = {"pieces": pieces, "instances": instances}
    template = Path(__file__).with_name("relu_report.html")
    report = Report(out, COMMAND, NAMES, options.run(**chosen), template, (PAGE,))
    one_step: list[OneStep] = []
    paths: list[PathRow] = []
    growth: list[Growth] = []
    recovered: list[Recovered] = []
    deflated = () if options.own else RECOVERED
    found: PointsFound | None = None
    for line in () if user is None else (user.read, *user.remarks):
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    with checking_input(options.source), progress(len(given) + len(deflated) + 2) as start:
        for problem in given:
            start(problem.name)
            d0 = options.max_dim or problem.dim
            one_step += one_step_rows(problem, d0, on)
            if problem.dim > MOST_STEPWISE_DIM and not options.own and options.dims is None:
                continue
            rows, grown = plain_rows(problem, d0, options.steps, on)
            growth.append(grown)
            paths += [*rows, *normalised_rows(problem, d0, options.steps, pieces, on)]
        if points is not None:
            power = tensor_power_construction(options.max_dim or len(points.T), 1, normalise="rms")
            found = find_components(power, points, on)
        for dim, components in deflated:
            start(f"deflation, d={dim}, K={components}")
            recovered += recovery_rows(dim, components, pieces, on, generator)
        start("identities for all real T and v")
        exact = check_symbolic(options.seed, instances)
        start("rational instances")
        exact += check_rational(options.seed, instances)
    broken = sum(row.broken for row in (*one_step, *paths, *recovered, *(found.components if found else ())))
    broken += sum(broken_in(row.certified) for row in paths)
    dims = sorted({problem.dim for problem in given})
    outcome = Outcome(
        broken + sum(not record.passed for record in exact),
        paths,
        recovered,
        tensor_power_resources(dims, options.steps, pieces),
    )
    widen(console)
    for record in exact:
        status = "held" if record.passed else "FAILED"
        console.print(f"exact: {status}, {record.claim} ({record.note})", markup=False)
    print_rows(console, "One step against exact arithmetic, over sum |T v v|", ONE_STEP, one_step)
    if user is not None and found is not None:
        print_found(console, user, found)
    outcome.print(console, map(_grown, growth))
    shown = tensor_power_construction(SHOWN_DIM, options.steps)
    results = outcome.results(SOURCE, options, chosen)
    results |= {"exact": exact, "one_step": one_step, "growth": growth}
    results |= {"points": found, "data": None if user is None else user.described}
    pages: dict[str, str] = {}
    if to_play is not None:
        power = tensor_power_construction(options.max_dim or to_play.dim, options.steps, normalise="rms")
        results["played"], pages[PAGE] = play(power, to_play, "RMS norm", on, options.steps, COMMAND)
    drawn = pictures(one_step, paths, growth, shown)
    return report.write(console, results, drawn, outcome.page(shown), pages)


def _grown(row: Growth) -> str:
    lengths = ", ".join(f"{value:.3g}" for value in row.log10_length)
    stopped = f"; stopped after {row.steps_taken}: {row.reason}" if row.reason else ""
    return f"growth, {row.problem}: log10 |v| = {lengths}{stopped}"
