"""The results of the two tensor power checks on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from console.terminal import print_exact, print_table, print_verdict, widen
from verify.engine.tables import print_rows
from verify.resource_rows import HEADER
from verify.tensor.relu_rows import last_steps

ONE_STEP = (
    *(("tensor", "problem"), ("heads", "form"), ("number", "heads"), ("instances", "instances")),
    *(("error/scale", "error"), ("bound/scale", "bound"), ("bound", "broken")),
)
PATHS = (
    *(("tensor", "problem"), ("norm", "form"), ("steps", "step"), ("error", "error")),
    *(("largest", "largest_error"), ("bound", "bound"), ("least ratio", "margin", 3)),
    *(("claimed", "claimed_of"), ("bounds", "broken")),
)
RECOVERY = (
    *(("orthogonal tensor", "tensor"), ("norm", "form"), ("all found", "distinct")),
    *(("from truth", "distance"), ("error", "error"), ("bound", "bound")),
    *(("eigenvalue", "eigenvalue_error"), ("", "broken")),
)
BEST = (
    *(("tensor", "problem"), ("dtype", "dtype"), ("p", "pairs"), ("heads", "heads")),
    *(("best eps", "epsilon"), ("error", "error"), ("predicted eps", "predicted_epsilon")),
    *(("predicted", "predicted_error"), ("error there", "error_there"), ("slope", "slope", 3)),
)
SINK = (
    *(("tensor", "problem"), ("c", "c"), ("eps", "epsilon"), ("error", "error")),
    *(("predicted", "predicted"), ("bound", "bound"), ("entry ratio", "ratio", 3), ("bounds", "broken")),
)


def print_relu(console: Console, results: dict[str, Any]) -> None:
    """Exact claims, one step, growth, and what both have."""
    widen(console)
    print_exact(console, results["exact"])
    print_rows(console, "One step against exact arithmetic, over sum |T v v|", ONE_STEP, results["one_step"])
    growth = []
    for row in results["growth"]:
        lengths = ", ".join(f"{value:.3g}" for value in row["log10_length"])
        stopped = f"; stopped after {row['steps_taken']}: {row['reason']}" if row["reason"] else ""
        growth.append(f"growth, {row['problem']}: log10 |v| = {lengths}{stopped}")
    _print_rest(console, results, growth, [])


def print_softmax(console: Console, results: dict[str, Any]) -> None:
    """Best step sizes, the sink, and what both have."""
    widen(console)
    print_rows(console, "Best eps for p pairs; error of one step / natural scale", BEST, results["best"])
    points = [point | {"c": f"{point['sink']:g}"} for point in results["sink"]]
    print_rows(console, "Height c of the sink", SINK, points)
    for row in results["without_sink"]:
        lost = f"{row['lost']:.0%} of T(I, v, v) lost, rescaled"
        console.print(f"sink dropped, {row['problem']}: {lost}", markup=False)
    broken = sum(point["broken"] for point in (*results["epsilon"], *results["sink"]))
    measured = f"{results['instances']} one-step instances, {broken} entries above their bound"
    _print_rest(console, results, results["ended"], [measured])


def _print_rest(console: Console, results: dict[str, Any], before: list[str], after: list[str]) -> None:
    """The last step of each path with the verdict of all steps, recovery, resources, lines, the verdict."""
    last = [r | {"claimed_of": f"{r['claimed']}/{r['instances']}"} for r in last_steps(results["paths"])]
    print_rows(console, "All steps, |v - reference| / |v|", PATHS, last)
    for line in before:
        console.print(line, markup=False)
    recovery = [row | {"tensor": f"d={row['d']}, K={row['components']}"} for row in results["recovery"]]
    title = "Components found with restarts and deflation, largest over all"
    print_rows(console, title, RECOVERY, recovery)
    print_table(console, "Resources", HEADER, results["resources"])
    for line in after:
        console.print(line, markup=False)
    print_verdict(console, results["passed"])
