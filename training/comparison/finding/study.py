"""The whole study: train the missing cells, measure the missing ones, and put everything together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from console.cells import Cells
from console.typed_json import Kept, load_result, save_result
from console.workers import run_pieces
from constructions.language.shown import short_repr
from training.comparison.command import COMMAND, one_thread
from training.comparison.common.parts import Start
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

T = TypeVar("T")
CONTROLS = "controls"


@dataclass(frozen=True)
class FindingResult:
    """Every cell, and the controls.

    seconds  of computing behind each cell, training and measuring, by its name.
    """

    settings: FindingSettings
    controls: list[Control]
    cells: list[CellResult]
    seconds: dict[str, float]

    __repr__ = short_repr


@dataclass(frozen=True)
class Controls:
    """As they are kept."""

    controls: list[Control]


def pieces(effort: StudyEffort) -> int:
    """How often :func:`answer` calls `start`, at most: every cell twice, and the controls."""
    return 2 * len(settings_of(effort.quick, effort.seed).cells) + 1


def answer(effort: StudyEffort, out: Path, start: Start) -> FindingResult:
    """Train and measure what the folder lacks; each cell is kept as soon as it is done."""
    settings = settings_of(effort.quick, effort.seed)
    run = {"study": "finding", "quick": effort.quick, "seed": effort.seed}
    of_rooms = partial(Cells, out, COMMAND, run, threads=1)
    keeper = Keeper(settings, of_rooms(TRAINING_ROOMS), of_rooms(MEASURING_ROOMS))
    keys = [f"train-{name}" for name in settings.cells]
    with keeper.trained.stopping(keys):
        trained = {name: keeper.load_training(name) for name in settings.cells}
        missing = [name for name, found in trained.items() if found is None]
        missing.sort(key=_length, reverse=True)
        train = partial(timed_training, settings)
        for name, (found, seconds) in run_pieces(train, missing, effort.jobs, effort.dask):
            keeper.save_training(name, found, seconds)
            start(f"{name}: trained")
        return _measured(settings, keeper, start)


def timed_training(settings: FindingSettings, name: str) -> tuple[Trained, float]:
    """A cell's networks, a pure function of settings and name, and the processor's seconds."""
    cell, began = CELLS[name], time.process_time()
    with one_thread():
        found = train_cell(cell, settings.numbers, settings.steps, held_out_tasks(cell, settings))
    return found, time.process_time() - began


def _measured(settings: FindingSettings, keeper: Keeper, start: Start) -> FindingResult:
    def once(key: str, kind: type[T], compute: Callable[[], T]) -> Kept[T]:
        found = load_result(keeper.measured, key, kind)
        if found is None:
            began = time.process_time()
            result = compute()
            found = save_result(keeper.measured, key, Kept(result, time.process_time() - began))
            start(f"{key.removeprefix('measure-')}: measured")
        return found

    controls = once(CONTROLS, Controls, lambda: Controls(measure_controls(settings)))
    found, seconds = [], {}
    for name in settings.cells:
        trained = keeper.load_training(name)
        if trained is None:
            raise FileNotFoundError(f"{keeper.trained.folder}: the weights of {name} have gone")
        compute = partial(measure_cell, CELLS[name], settings, trained.networks, trained.watched)
        kept = once(f"measure-{name}", CellResult, compute)
        found.append(kept.result)
        seconds[name] = kept.seconds
    return FindingResult(settings, controls.result.controls, found, seconds)


def _length(name: str) -> int:
    """About how long a cell trains, in units of the baseline."""
    cell = CELLS[name]
    return cell.longer * max(cell.heads, cell.units) * cell.loops
