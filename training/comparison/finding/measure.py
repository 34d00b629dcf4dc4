"""What is measured of the networks of a cell, and of the controls beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import OriginPurpose, beside_construction
from training.comparison.finding.design import BASELINE, CELLS, FindingSettings
from training.comparison.finding.learning.batches import fixed_set, paths
from training.comparison.finding.learning.cells import Cell, Given
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.finding.learning.starts import first_network
from training.comparison.finding.learning.supervision import Losses
from training.comparison.finding.learning.trace import EMPath
from training.comparison.finding.learning.training import losses_of, output_losses
from training.comparison.finding.references import without_means
from training.comparison.finding.shapes import Reference, reference_of
from training.comparison.finding.uses import Uses, measure_uses
from training.comparison.symmetry.group import random_copy
from training.comparison.symmetry.random_network import random_like
from training.comparison.weights.block_verdicts import BlocksResult


@dataclass(frozen=True)
class NetworkResult:
    """One network.

    seed          of its first weights and tasks.
    loss          held-out output loss in units of the construction's own on the same tasks.
    trained_loss  the same on tasks of the fixed set it was trained on; NaN where tasks were fresh.
    trace         error of the sub-layers on exact states, in variances of the blocks (supervision.py).
    has           the theorem's blocks that it has, by name; none of a layer that was given.
    in_addition   how many others.
    distance, by_kind   of weights to the construction modulo symmetries; NaN where it is not defined.
    """

    seed: int
    loss: float
    trained_loss: float
    trace: float
    has: list[str]
    in_addition: int
    distance: float
    by_kind: dict[str, float]

    __repr__ = short_repr


@dataclass(frozen=True)
class CellResult:
    """The networks of a cell.

    steps     of training. unit: the construction's held-out loss.
    theorem   names of the theorem's blocks, those of a layer that was given left out.
    watched   after so many steps, every network's held-out loss in units of the construction's.
    uses      of EM's variables, by the first networks.
    """

    cell: Cell
    steps: int
    unit: float
    theorem: list[str]
    networks: list[NetworkResult]
    watched: list[tuple[int, list[float]]]
    uses: Uses

    __repr__ = short_repr


UNTRAINED_TOO = ("wide-4", "wide-16", "first-3")
"""Cells whose first weights are a control of their own."""


@dataclass(frozen=True)
class Control:
    """Networks that were not trained, measured like those of a cell."""

    name: str
    networks: list[NetworkResult]
    uses: Uses


@dataclass(frozen=True)
class Rule:
    """What networks of a cell are measured by: tasks, losses and the construction in their shape."""

    held_out: EMPath
    losses: Losses
    reference: Reference
    unit: float

    __repr__ = short_repr

    @staticmethod
    def of(cell: Cell, settings: FindingSettings) -> Rule:
        """Held-out tasks are the same for all cells of one size."""
        held_out = held_out_tasks(cell, settings)
        losses = losses_of(cell)
        constructed = StackedNetworks([cell.problem.constructed()])
        unit = output_losses(losses, constructed, held_out)[0]
        return Rule(held_out, losses, reference_of(cell, held_out[: settings.block_tasks]), unit)


def held_out_tasks(cell: Cell, settings: FindingSettings) -> EMPath:
    """Of 32 points."""
    return paths(cell.problem, settings.tasks, OriginPurpose.HELD_OUT, settings.seed)


def measure_networks(
    rule: Rule, networks: StackedNetworks, numbers: Sequence[int], fixed: bool = False
) -> list[NetworkResult]:
    """Of every network; with fixed, the loss on the first tasks of its own training set, too."""
    cell = rule.reference.cell
    losses = output_losses(rule.losses, networks, rule.held_out)
    trained = [math.nan] * len(numbers)
    if fixed:
        most = len(rule.held_out.tokens)
        own = EMPath.stacked([fixed_set(cell, seed, most) for seed in numbers])
        with torch.no_grad():
            trained = rule.losses.output(networks, own, cell.loops).tolist()
    with torch.no_grad():
        repeated = EMPath.stacked([rule.held_out] * len(numbers))
        traces = rule.losses.trace(networks, repeated, cell.loops, forced=True, sub_layers=True).tolist()
    return [
        _measured(rule, networks.network(place), seed, losses[place], trained[place], traces[place])
        for place, seed in enumerate(numbers)
    ]


def _measured(
    rule: Rule, network: Transformer, seed: int, loss: float, trained: float, trace: float
) -> NetworkResult:
    known = {"seed": seed, "loss": loss / rule.unit, "trained_loss": trained / rule.unit, "trace": trace}
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        return NetworkResult(**known, has=[], in_addition=0, distance=math.nan, by_kind={})
    found = rule.reference.compare(network)
    apart = found.distances["learned"]
    comparable = rule.reference.cell.activation == "relu"
    return NetworkResult(
        **known,
        has=blocks_of(found, ("has",), rule.reference.cell.given),
        in_addition=found.counts["learned"].in_addition,
        distance=apart.distance if comparable else math.nan,
        by_kind={
            kind: size if comparable or kind != "MLP" else math.nan for kind, size in apart.by_kind.items()
        },
    )


def blocks_of(
    found: BlocksResult, verdicts: Sequence[str] = ("has", "lacks"), given: Given = "nothing"
) -> list[str]:
    """Names of the blocks with these verdicts, as in "E head 1, A: x, mu", but not those of a given layer."""
    return [
        f"{'EM'[layer.layer - 1]} {form.name}: {found.blocks[row]}, {found.blocks[column]}"
        for layer in found.layers
        if "EM"[layer.layer - 1] != given
        for form in layer.forms
        for row, line in enumerate(form.numbers.verdict["learned"])
        for column, verdict in enumerate(line)
        if verdict in verdicts
    ]


def measure_cell(
    cell: Cell,
    settings: FindingSettings,
    networks: StackedNetworks,
    watched: list[tuple[int, list[float]]],
) -> CellResult:
    """A cell whose networks were trained."""
    rule = Rule.of(cell, settings)
    measured = measure_networks(rule, networks, settings.numbers, cell.fixed_tasks > 0)
    return CellResult(
        cell=cell,
        steps=watched[-1][0],
        unit=rule.unit,
        theorem=blocks_of(rule.reference.compare(rule.reference.constructed), given=cell.given),
        networks=measured,
        watched=[(step, [loss / rule.unit for loss in losses]) for step, losses in watched],
        uses=measure_uses(cell, settings, [networks.network(place) for place in range(len(measured))]),
    )


def measure_controls(settings: FindingSettings) -> list[Control]:
    """Each like the cell of its shape."""
    found = []
    for name, cell, networks in control_networks(settings):
        stacked = StackedNetworks([network.float() for network in networks])
        measured = measure_networks(Rule.of(cell, settings), stacked, settings.numbers[: len(networks)])
        found.append(Control(name, measured, measure_uses(cell, settings, networks)))
    return found


def control_networks(settings: FindingSettings) -> list[tuple[str, Cell, list[Transformer]]]:
    """The construction, copies under random symmetries (which must have every block), and nothing learned.

    Nothing learned: also in the shapes and sizes of first weights of cells that differ in these.
    """
    reference, numbers = Rule.of(BASELINE, settings).reference, settings.numbers
    constructed = reference.constructed
    copies = [random_copy(constructed, beside_construction(seed), reference.slots) for seed in numbers]
    unrelated = [random_like(constructed, beside_construction(seed)) for seed in numbers]
    found = [
        ("construction", BASELINE, [constructed]),
        ("construction, M head's score 0", BASELINE, [without_means(BASELINE.problem)]),
        ("copies under random symmetries", BASELINE, [copied.transformer for copied in copies]),
        ("unrelated weights of the same norms", BASELINE, unrelated),
        ("untrained", BASELINE, [first_network(BASELINE, seed) for seed in numbers]),
    ]
    for name in (name for name in UNTRAINED_TOO if name in settings.cells):
        cell = CELLS[name]
        networks = [first_network(cell, seed) for seed in numbers]
        found.append((f"untrained, {cell.factor} {cell.level}", cell, networks))
    return found
