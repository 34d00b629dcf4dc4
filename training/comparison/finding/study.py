"""The whole study: train the missing cells, measure the missing ones, and put everything together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from baselines.workers.pieces import run_pieces
from console.cells import Cells
from console.typed_json import Kept, load_result, save_result
from constructions.language.shown import short_repr
from training.comparison.common.parts import Start
from training.comparison.common.running import COMMAND, one_thread
from training.comparison.common.studies import StudyEffort
from training.comparison.finding.design import CELLS, FindingSettings, settings_of
from training.comparison.finding.keeping import MEASURING_ROOMS, TRAINING_ROOMS, Keeper
from training.comparison.finding.learning.training import Trained, train_cell
from training.comparison.finding.measure import (
    CellResult,
    Control,
    held_out_tasks,
    measure_cell,
    measure_controls,
)


@dataclass(frozen=True)
class FindingResult:
    """Every cell, and the controls.

    trained, measured  seconds of one processor behind each cell, by its name.
    """

    settings: FindingSettings
    controls: list[Control]
    cells: list[CellResult]
    trained: dict[str, float]
    measured: dict[str, float]

    __repr__ = short_repr


@dataclass(frozen=True)
class Controls:
    """As they are kept."""

    controls: list[Control]


def pieces(effort: StudyEffort) -> int:
    """How often :func:`answer` calls `start`, at most: every cell twice, and the controls."""
    return 2 * len(settings_of(effort.quick, effort.seed).cells) + 1


def answer(effort: StudyEffort, out: Path, start: Start) -> FindingResult:
    """Train and measure what the folder lacks; each piece is kept as soon as it is done."""
    settings = settings_of(effort.quick, effort.seed)
    run = {"study": "finding", "quick": effort.quick, "seed": effort.seed}
    of_rooms = partial(Cells, out, COMMAND, run, threads=1)
    keeper = Keeper(settings, of_rooms(TRAINING_ROOMS), of_rooms(MEASURING_ROOMS))
    with keeper.trained.stopping([f"train-{name}" for name in settings.cells]):
        trained = _trained(keeper, effort, start)
        measured = _measured(keeper, trained, effort, start)
        controls = load_result(keeper.measured, "controls", Controls)
        if controls is None:
            start("controls")
            controls = save_result(keeper.measured, "controls", timed_controls(settings))
    return FindingResult(
        settings,
        controls.result.controls,
        [measured[name].result for name in settings.cells],
        {name: trained[name].seconds for name in settings.cells},
        {name: measured[name].seconds for name in settings.cells},
    )


def _trained(keeper: Keeper, effort: StudyEffort, start: Start) -> dict[str, Kept[Trained]]:
    """Every cell's networks."""
    kept = {name: keeper.load_training(name) for name in keeper.settings.cells}
    found = {name: one for name, one in kept.items() if one is not None}
    missing = sorted((name for name, one in kept.items() if one is None), key=_length, reverse=True)
    train = partial(timed_training, keeper.settings)
    for name, trained in run_pieces(train, missing):
        keeper.save_training(name, trained)
        found[name] = trained
        start(f"{name}: trained")
    return found


def _measured(
    keeper: Keeper, trained: dict[str, Kept[Trained]], effort: StudyEffort, start: Start
) -> dict[str, Kept[CellResult]]:
    """What is measured of every cell."""
    kept = {name: keeper.load_measure(name) for name in keeper.settings.cells}
    found = {name: one for name, one in kept.items() if one is not None}
    missing: Sequence[tuple[str, Trained]] = [
        (name, trained[name].result) for name, one in kept.items() if one is None
    ]
    measure = partial(timed_measure, keeper.settings)
    for (name, _), measured in run_pieces(measure, missing):
        found[name] = keeper.save_measure(name, measured)
        start(f"{name}: measured")
    return found


def timed_training(settings: FindingSettings, name: str) -> Kept[Trained]:
    """A cell's networks, a pure function of settings and name, and the processor's seconds."""
    cell, began = CELLS[name], time.process_time()
    with one_thread():
        found = train_cell(cell, settings.numbers, settings.steps, held_out_tasks(cell, settings))
    return Kept(found, time.process_time() - began)


def timed_measure(settings: FindingSettings, piece: tuple[str, Trained]) -> Kept[CellResult]:
    """What is measured of a cell's networks, and the processor's seconds."""
    name, trained = piece
    began = time.process_time()
    with one_thread():
        found = measure_cell(CELLS[name], settings, trained.networks, trained.watched)
    return Kept(found, time.process_time() - began)


def timed_controls(settings: FindingSettings) -> Kept[Controls]:
    """What is measured of networks that were not trained, and the processor's seconds."""
    began = time.process_time()
    with one_thread():
        found = Controls(measure_controls(settings))
    return Kept(found, time.process_time() - began)


def _length(name: str) -> int:
    """About how long a cell trains, in units of the baseline."""
    cell = CELLS[name]
    return cell.longer * max(cell.heads, cell.units) * cell.loops
