"""What both tensor power checks write and print: runs, components found, resources, the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from console.options import plain_value
from console.terminal import print_table, print_verdict
from constructions.tensor_power.iteration import PowerIteration
from verify.engine.certificates import Certificate, summary
from verify.engine.tables import print_rows
from verify.resource_rows import HEADER
from verify.tensor.options import TensorOptions
from verify.tensor.rows import PathRow, Recovered, last_steps

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


@dataclass(frozen=True)
class Outcome:
    """Of one call; ``broken`` counts claims and bounds of every kind, those of the rows here too."""

    broken: int
    paths: list[PathRow]
    recovery: list[Recovered]
    resources: list[list[str]]

    def results(self, source: str, options: TensorOptions, others: dict[str, Any]) -> dict[str, Any]:
        """What a check writes, beside what is its own; ``others``: its own options."""
        return {
            "source": source,
            "passed": self.broken == 0,
            "broken": self.broken,
            "seed": options.seed,
            "dtype": plain_value(options.dtype),
            "settings": options.plain() | others,
            "paths": self.paths,
            "recovery": self.recovery,
            "resources": self.resources,
        }

    @property
    def certified(self) -> list[tuple[str, int, Certificate]]:
        """Paths and steps with their certificates."""
        return [(f"{r.problem}, {r.form}", r.step, r.certified) for r in self.paths if r.certified]

    def page(self, shown: PowerIteration) -> dict[str, Any]:
        """What the pages need beside the results: a small construction, and where the paths end."""
        last = last_steps(self.paths)
        of_weights = {"explanation": shown.explain(), "shown_dim": shown.max_dim, "header": HEADER}
        return of_weights | {"last": last, "certified": self.certified}

    def print(self, console: Console, before: Iterable[str], after: Iterable[str] = ()) -> None:
        """Where each path ends with the verdict of all its steps, recovery, resources, lines, the verdict."""
        print_rows(console, "All steps, |v - reference| / |v|", PATHS, last_steps(self.paths))
        for line in (*before, summary([one for _, _, one in self.certified])):
            console.print(line, markup=False)
        title = "Components found with restarts and deflation, largest over all"
        print_rows(console, title, RECOVERY, self.recovery)
        print_table(console, "Resources", HEADER, self.resources)
        for line in after:
            console.print(line, markup=False)
        print_verdict(console, self.broken == 0)
