"""The page of the study: what each cell shows, one table, pictures; everything from the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from console.output import significant
from console.phrases import listed, number
from console.sections import Section, Table
from training.comparison.finding.design import BASELINE
from training.comparison.finding.figures import pictures
from training.comparison.finding.interchange import VariableUse
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.measure import CellResult, NetworkResult
from training.comparison.finding.study import FindingResult
from training.comparison.finding.summary import FOUND, Spread, by_number, by_ratio, verdict


def render(data: FindingResult) -> Section:
    """Findings, the table, the blocks of every cell, pictures."""
    return Section(paragraphs(data), [_table(data), _uses_table(data), _blocks_table(data)], pictures(data))


def paragraphs(data: FindingResult) -> list[str]:
    """What was found."""
    return [
        _about_finding(data),
        _about_best(data),
        *_about_factors(data),
        _about_memory(data),
        _about_use(data),
        _about_method(data),
    ]


def _about_finding(data: FindingResult) -> str:
    whole = [cell for cell in data.cells if cell.cell.given == "nothing"]
    every = [cell for cell in whole if verdict(cell) == "all"]
    some = [cell for cell in whole if verdict(cell) == "some"]
    names = [f"{cell.cell.name} ({_counts(cell)} of {len(cell.theorem)})" for cell in every]
    if not every and not some:
        best = _best(data)
        return (
            f"No cell finds the theorem ({FOUND:.0%} of its blocks, 15 of 20): the strongest is "
            f"{best.cell.name} with {_counts(best)} of {len(best.theorem)}."
        )
    said = f"{FOUND:.0%} of the theorem's blocks or more are found from random weights, no layer given,"
    parts = [f"by every network of {listed(names)}"] if every else []
    partly = [f"{cell.cell.name} ({_counts(cell)} of {len(cell.theorem)})" for cell in some]
    parts += [f"by some of {listed(partly)}"] if some else []
    return f"{said} {', and '.join(parts)}. In brackets: blocks of each network. The others find fewer."


def _about_best(data: FindingResult) -> str:
    best = _best(data)
    missing = [block for block in best.theorem if not all(block in n.has for n in best.networks)]
    whole = [cell for cell in data.cells if cell.cell.given == "nothing"]
    lowest = min(whole, key=lambda cell: by_ratio([n.loss for n in cell.networks]).value)
    lacks = f"some of its networks lack {'; '.join(missing)}" if missing else "none of its networks lacks one"
    return (
        f"Most blocks: {best.cell.name} ({_described(best.cell)}), {_counts(best)} of {len(best.theorem)}; "
        f"{lacks}. Its loss is {_loss(best)} times the construction's. Least loss: {lowest.cell.name} "
        f"({_described(lowest.cell)}), {_loss(lowest)}, with {_counts(lowest)} of "
        f"{len(lowest.theorem)} blocks. Nearness in function and in weights are two things."
    )


def _about_factors(data: FindingResult) -> list[str]:
    """A paragraph a factor, in the order of the cells."""
    found: dict[str, list[str]] = {}
    for cell in data.cells:
        of = "" if len(cell.theorem) == len(data.cells[0].theorem) else f" of {len(cell.theorem)}"
        said = f"{cell.cell.level}: {_counts(cell)}{of}, loss {_loss(cell)}"
        found.setdefault(cell.cell.factor, []).append(said)
    first = f"Blocks of {len(data.cells[0].theorem)} found by each seed, and the loss, by what is varied."
    return [
        first,
        *(f"{factor[0].upper()}{factor[1:]}. {'; '.join(parts)}." for factor, parts in found.items()),
    ]


def _about_memory(data: FindingResult) -> str:
    parts = []
    for cell in data.cells:
        if cell.cell.fixed_tasks:
            own = by_ratio([network.trained_loss for network in cell.networks])
            parts.append(f"{cell.cell.fixed_tasks:,} tasks: {own} on them, {_loss(cell)} on held-out ones")
    if not parts:
        return "No cell has a fixed set of tasks."
    return f"Fixed sets, losses in units of the construction's. {'; '.join(parts)}."


def _about_use(data: FindingResult) -> str:
    rows = [(cell.cell.name, cell.uses) for cell in data.cells if cell.cell.given == "nothing"]
    rows += [(control.name, control.uses) for control in data.controls]
    parts = []
    for wanted in ("construction", "untrained", BASELINE.name, _best(data).cell.name):
        for uses in (uses for name, uses in rows if name == wanted):
            each = [by_number([use.accuracy for use in uses.of(at)]).value for at in range(len(uses.names))]
            parts.append(f"{wanted} {number(min(each), 2)} to {number(max(each), 2)}")
    return (
        "Interchange of one variable of EM between two tasks, share of answers that are EM's counterfactual, "
        f"lowest and highest of the variables: {', '.join(parts)}. Chance is 0."
    )


def _about_method(data: FindingResult) -> str:
    s = data.settings
    return (
        "Networks of the EM construction's shape, one looped block of an E and an M layer, from random "
        f"weights; {s.steps:,} steps of 16 tasks unless said, {s.seeds} seeds a cell trained together as one "
        f"stacked computation, float32; {s.tasks} held-out tasks of 32 points. Blocks are weighed by the "
        f"construction's states on {s.block_tasks} of them. Values are means over seeds with 95 % "
        "t-intervals, those of losses and distances geometric; in brackets smallest and largest. A seed "
        "whose weights are not finite has no blocks and is left out of the other means. The trace of a "
        "task: what exact EM leaves in every block of the stream; errors of a block are in units of its "
        "variance. The combinations were chosen after trials with the first two of these seeds."
    )


def _table(data: FindingResult) -> Table:
    columns = ["cell", "factor", "level", "loss", "blocks", "found", "in addition", "distance", "A / V / MLP"]
    columns += ["trace", "training loss", "steps", "s"]
    theorem = len(data.cells[0].theorem)  # the baseline's, and the controls'
    rows = [
        [*_row(control.name, "control", "", control.networks, theorem), "-", "-"] for control in data.controls
    ]
    for cell in data.cells:
        spent = data.trained[cell.cell.name], data.measured[cell.cell.name]
        seconds = " + ".join(significant(one, 2) for one in spent)
        row = _row(
            cell.cell.name, cell.cell.factor, cell.cell.level, cell.networks, len(cell.theorem), verdict(cell)
        )
        rows.append([*row, f"{cell.steps:,}", seconds])
    return Table(
        "Cells and controls",
        columns,
        rows,
        "loss: held out, distance of the outputs to exact EM in units of the construction's own on the "
        "same tasks. blocks: of the theorem's, those of a layer that is given left out, mean with 95 % "
        "interval, smallest and largest. found: three quarters of them or more, by all seeds, some or "
        "none. in addition: blocks that the theorem has not. distance: of weights to the construction "
        "modulo the symmetries, relative to its norm (no weights at all: 1), and of scores, values and MLP "
        "apart. trace: error of the sub-layers on exact states, in variances of the blocks. training loss: "
        "on tasks of the fixed set. s: seconds of one processor to train and to measure. Networks with "
        "more heads and units are compared with the construction padded by zeros, so that a block which "
        "several heads share may count as lacking; of GELU networks, whose units have no scale to align, "
        "MLP and whole have no distance.",
    )


def _row(
    name: str, factor: str, level: str, networks: Sequence[NetworkResult], of: int, found: str = ""
) -> list[str]:
    def spread(value: Callable[[NetworkResult], float], how: Callable[[list[float]], Spread]) -> str:
        return str(how([value(network) for network in networks]))

    kinds = [
        significant(by_number([n.by_kind.get(kind, math.nan) for n in networks]).value)
        for kind in ("A", "V", "MLP")
    ]
    return [
        *(name, factor, level),
        spread(lambda n: n.loss, by_ratio),
        f"{spread(lambda n: float(len(n.has)), by_number)} of {of}",
        found,
        spread(lambda n: float(n.in_addition), by_number),
        spread(lambda n: n.distance, by_ratio),
        " / ".join(kinds),
        spread(lambda n: n.trace, by_ratio),
        spread(lambda n: n.trained_loss, by_ratio),
    ]


def _uses_table(data: FindingResult) -> Table:
    """Of the cells with as many loops as the first."""
    names = data.cells[0].uses.names
    given = [(control.name, control.uses) for control in data.controls]
    given += [(cell.cell.name, cell.uses) for cell in data.cells if cell.uses.names == names]
    rows = [[name, *(_use(uses.of(place)) for place in range(len(names)))] for name, uses in given]
    return Table(
        "Are EM's variables decodable, and used?",
        ["cell", *names],
        rows,
        "A variable and after which loop. Decodable: R^2 of a linear probe on held-out tasks. Used: the "
        "part of the stream in a learned subspace is taken from another task, and the share of answers "
        "that are EM's counterfactual; in brackets the control, learned for another source's (chance is "
        f"0). Means over {data.settings.used} networks. Linear maps only: with any map every network can be "
        "made to agree with every algorithm (arXiv 2507.08802).",
    )


def _use(uses: Sequence[VariableUse]) -> str:
    """As in "0.98; 0.75 (0.01)"."""
    means = [
        number(by_number([of(use) for use in uses]).value, 2)
        for of in (lambda u: u.decodable_r2, lambda u: u.accuracy, lambda u: u.shuffled_accuracy)
    ]
    return f"{means[0]}; {means[1]} ({means[2]})"


def _blocks_table(data: FindingResult) -> Table:
    """Of the cells whose construction has no other blocks than the first cell's."""
    blocks = data.cells[0].theorem

    def count(cell: CellResult, block: str) -> str:
        return str(sum(block in n.has for n in cell.networks)) if block in cell.theorem else "-"

    rows = [
        [cell.cell.name, *(count(cell, block) for block in blocks)]
        for cell in data.cells
        if set(cell.theorem) <= set(blocks)
    ]
    return Table(
        "Which blocks",
        ["cell", *blocks],
        rows,
        f"How many of {data.settings.seeds} networks have each block of the theorem, named by layer, form, "
        "what is read (of scores A: by the query, in the key) and what is written.",
    )


def _best(data: FindingResult) -> CellResult:
    """Most blocks on the average of its seeds, at the baseline's d and K, with no layer given."""
    sizes = data.cells[0].cell
    own = [
        cell
        for cell in data.cells
        if cell.cell.given == "nothing"
        and (cell.cell.n_features, cell.cell.n_components) == (sizes.n_features, sizes.n_components)
    ]
    return max(own, key=lambda cell: sum(len(network.has) for network in cell.networks) / len(cell.theorem))


def _described(cell: Cell) -> str:
    return f"{cell.factor}: {cell.level}"


def _counts(cell: CellResult) -> str:
    return ", ".join(str(len(network.has)) for network in cell.networks)


def _loss(cell: CellResult) -> str:
    return str(by_ratio([network.loss for network in cell.networks]))
