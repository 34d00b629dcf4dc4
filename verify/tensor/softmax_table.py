"""The results of the softmax tensor power check on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from console.output import significant
from console.terminal import marked, print_table, print_verdict, widen
from verify.resource_rows import HEADER
from verify.tensor.relu_table import print_paths, print_recovery

BEST = (
    *("tensor", "dtype", "p", "heads", "best eps", "error"),
    *("predicted eps", "predicted", "error there", "slope"),
)
SINK = ("tensor", "c", "eps", "error", "predicted", "bound", "entry ratio", "bounds")


def print_results(console: Console, results: dict[str, Any]) -> None:
    """Best step sizes, the sink, paths, recovery, resources, the verdict."""
    widen(console)
    print_table(console, "Best eps for p pairs; error of one step / natural scale", BEST, _best(results))
    print_table(console, "Height c of the sink", SINK, [_sink(point) for point in results["sink"]])
    for row in results["without_sink"]:
        console.print(
            f"sink dropped, {row['problem']}: {row['lost']:.0%} of T(I, v, v) lost, rescaled", markup=False
        )
    print_paths(console, results["paths"])
    for line in results["ended"]:
        console.print(line, markup=False)
    print_recovery(console, results["recovery"])
    print_table(console, "Resources", HEADER, results["resources"])
    broken = sum(point["broken"] for point in (*results["epsilon"], *results["sink"]))
    measured = f"{results['instances']} one-step instances, {broken} entries above their bound"
    console.print(measured, markup=False)
    print_verdict(console, results["passed"])


def _best(results: dict[str, Any]) -> list[list[str]]:
    names = ("epsilon", "error", "predicted_epsilon", "predicted_error", "error_there")
    return [
        [
            *(b["problem"], b["dtype"], str(b["pairs"]), str(b["heads"])),
            *(significant(b[name]) for name in names),
            significant(b["slope"], 3),
        ]
        for b in results["best"]
    ]


def _sink(point: dict[str, Any]) -> list[str]:
    sizes = [significant(point[name]) for name in ("epsilon", "error", "predicted", "bound")]
    ratio = significant(point["ratio"], 3)
    return [point["problem"], f"{point['sink']:g}", *sizes, ratio, marked(point["broken"])]
