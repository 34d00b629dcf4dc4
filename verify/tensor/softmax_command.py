"""What ``python -m verify.softmax_tensor_power`` does once its options are read."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from console.errors import BadInputError, checking_input
from console.options import DTYPES, plain_value
from console.terminal import progress, widen
from constructions.tensor_power.softmax import SOURCE, highest_sink, softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, largest_product
from verify.engine.certificates import broken_in
from verify.engine.report import Report
from verify.engine.tables import print_rows
from verify.player.page import PAGE
from verify.resource_rows import SINK, softmax_resources
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime
from verify.tensor.options import TensorOptions, problems
from verify.tensor.outcome import Outcome
from verify.tensor.player import play, problem_to_play
from verify.tensor.rows import PathRow, Recovered
from verify.tensor.softmax_rows import (
    Best,
    Point,
    WithoutSink,
    form_of,
    normalised_power,
    normalised_rows,
    recovery_rows,
    sweep_epsilon,
    sweep_sink,
    without_sink,
)

COMMAND = "verify.softmax_tensor_power"
DEFAULT_DIMS, DEFAULT_TRIALS = [6, 16], 100
MOST_REACH = 20.0
"""Of ``p eps |v_j v_m|``, whose exponential is taken."""
RECOVERED = ((2, 2), (8, 8))
SHOWN_DIM = 2
BEST = (
    *(("tensor", "problem"), ("dtype", "dtype"), ("p", "pairs"), ("heads", "heads")),
    *(("best eps", "epsilon"), ("error", "error"), ("predicted eps", "predicted_epsilon")),
    *(("predicted", "predicted_error"), ("error there", "error_there"), ("slope", "slope", 3)),
)
SINKS = (
    *(("tensor", "problem"), ("c", "sink", 4), ("eps", "epsilon"), ("error", "error")),
    *(("predicted", "predicted"), ("bound", "bound"), ("entry ratio", "ratio", 3), ("bounds", "broken")),
)


def check(
    options: TensorOptions,
    out: Path,
    pairs: list[int],
    epsilon: float | None,
    sink: float | None,
    console: Console,
    player: bool = False,
) -> int:
    """Run the check that the options describe and return the exit code; with ``player`` also its page.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    from verify.tensor.softmax_figures import NAMES, pictures

    generator = torch.Generator().manual_seed(options.seed)
    given = problems(options, DEFAULT_DIMS, DEFAULT_TRIALS, generator, max(pairs))
    to_play = problem_to_play(given, options.steps) if player else None
    score = SINK[options.dtype] if sink is None else sink
    if epsilon is not None:
        _check_epsilon(epsilon, max(pairs), score, options.dtype, given)
    chosen = {"pairs": pairs, "epsilon": epsilon, "sink": score}
    template = Path(__file__).with_name("softmax_report.html")
    report = Report(out, COMMAND, NAMES, options.run(**chosen), template, (PAGE,))
    dtype, on = options.dtype, options.runtime
    points: list[Point] = []
    best: list[Best] = []
    sinks: list[Point] = []
    paths: list[PathRow] = []
    ended: list[str] = []
    recovered: list[Recovered] = []
    dropped: list[WithoutSink] = []
    kinds = [getattr(torch, name) for name in DTYPES]
    others = [kind for kind in kinds if kind != dtype and given[0].fits(kind)]
    deflated = () if options.tensor is not None else RECOVERED

    def sweep(problem: TensorProblem, d0: int, score: float, on: Runtime) -> None:
        for p in pairs:
            found, lowest = sweep_epsilon(problem, d0, p, score, on)
            points.extend(found)
            best.append(lowest)

    with checking_input(options.source), progress(len(given) + len(others) + len(deflated)) as start:
        for problem in given:
            start(problem.name)
            d0 = options.max_dim or problem.dim
            sweep(problem, d0, score, on)
            sinks += sweep_sink(problem, d0, pairs[-1], on)
            heads = Heads(best[-1].predicted_epsilon, pairs[-1], score)
            dropped.append(WithoutSink(problem.name, without_sink(problem, d0, heads, dtype)))
            rows, lines = normalised_rows(problem, d0, options.steps, pairs, epsilon, score, on)
            paths += rows
            ended += lines
        for other in others:
            start(f"{given[0].name} in {plain_value(other)}")
            sweep(
                given[0].rounded(other),
                options.max_dim or given[0].dim,
                SINK[other],
                Runtime(other, on.device, on.evaluation),
            )
        for dim, components in deflated:
            start(f"deflation, d={dim}, K={components}")
            recovered += recovery_rows(dim, components, pairs, epsilon, score, on, generator)
    broken = sum(row.broken for row in (*points, *sinks, *paths, *recovered))
    broken += sum(broken_in(row.certified) for row in paths)
    dims = sorted({problem.dim for problem in given})
    outcome = Outcome(broken, paths, recovered, softmax_resources(dims, options.steps, pairs, dtype))
    instances = sum(p.instances for p in (*points, *sinks))
    above = sum(p.broken for p in (*points, *sinks))
    widen(console)
    print_rows(console, "Best eps for p pairs; error of one step / natural scale", BEST, best)
    print_rows(console, "Height c of the sink", SINKS, sinks)
    for row in dropped:
        lost = f"{row.lost:.0%} of T(I, v, v) lost, rescaled"
        console.print(f"sink dropped, {row.problem}: {lost}", markup=False)
    measured = f"{instances} one-step instances, {above} entries above their bound"
    outcome.print(console, ended, [measured])
    results = outcome.results(SOURCE, options, chosen)
    results |= {"instances": instances, "best": best, "epsilon": points, "sink": sinks}
    results |= {"without_sink": dropped, "ended": ended}
    shown = softmax_tensor_power_construction(SHOWN_DIM, options.steps, best[0].predicted_epsilon, 1, score)
    pages: dict[str, str] = {}
    if to_play is not None:
        p, d0 = pairs[0], options.max_dim or to_play.dim
        power, form = normalised_power(to_play, d0, options.steps, p, epsilon, score, dtype), form_of(p)
        taken = sum(row.problem == to_play.name and row.form == form for row in paths)
        if taken:
            results["played"], pages[PAGE] = play(power, to_play, form, on, taken, COMMAND)
        else:
            console.print("no player.html: the iteration to play ended before its first step", markup=False)
    drawn = pictures(points, best, sinks, paths)
    return report.write(console, results, drawn, outcome.page(shown), pages)


def _check_epsilon(
    epsilon: float, pairs: int, sink: float, dtype: torch.dtype, given: list[TensorProblem]
) -> None:
    """Refuse an epsilon whose weights, or the exponentials of whose scores, leave the range."""
    highest = highest_sink(dtype, epsilon, pairs)
    if sink > highest:
        raise BadInputError(
            f"--epsilon {epsilon:g}: e^c / eps leaves the range of {dtype} for the sink c = {sink:g}; "
            + (f"c up to {highest:.4g} does not" if highest >= 1 else "take a larger one")
        )
    reached = pairs * epsilon * max(largest_product(problem.v) for problem in given)
    if reached > MOST_REACH:
        raise BadInputError(
            f"--epsilon {epsilon:g}: p eps |v_j v_m| reaches {reached:.3g} with these starts; "
            f"at most {MOST_REACH:g} is taken"
        )
