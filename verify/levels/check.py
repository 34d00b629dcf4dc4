"""The published levels of EM and of the spectral method as two lines of the ledger."""

from __future__ import annotations

import time

from verify.engine.record import Check, Record
from verify.engine.tables import grouped
from verify.levels.command import PUBLISHED_TASKS, SPECTRAL, Level, measure_levels

STANDARD_ERRORS = 3.0


def check_reference_levels(seed: int, instances: int) -> list[Record]:
    """EM at d in {2, 8}, spectral at d in {8, 32}, both for K in {3, 5}, 1,024 tasks a cell."""
    levels = grouped(measure_levels(PUBLISHED_TASKS, seed), lambda level: level.method == SPECTRAL)
    em = "EM reproduces its published error levels, each within 3 combined standard errors"
    spectral = (
        "spectral (variance known) reproduces its published error levels and shares of bad tasks, each "
        "within 3 combined standard errors"
    )
    return [_record(em, levels[False], seed), _record(spectral, levels[True], seed)]


def _record(claim: str, levels: list[Level], seed: int) -> Record:
    began = time.perf_counter() - sum(level.seconds for level in levels)
    check = Check("levels measured beforehand on the tasks of arXiv 2505.11918", seed, began=began)
    compared = [level for level in levels if level.distance is not None]
    furthest = max(compared, key=lambda level: level.distance or 0.0)
    cells = {(level.n_features, level.n_components) for level in compared}
    n_failed = sum(level.n_failed for level in compared)
    note = f"{len(compared)} levels; furthest: {furthest.method}, d = {furthest.n_features}, "
    note += f"K = {furthest.n_components}" + (f"; {n_failed} tasks without an estimate" if n_failed else "")
    passed = all(level.reproduced for level in compared)
    tasks = PUBLISHED_TASKS * len(cells)
    return check.record(claim, STANDARD_ERRORS, furthest.distance or 0.0, tasks, passed, note)
