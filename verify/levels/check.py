"""The published levels of EM and of the spectral method as two lines of the ledger."""

from __future__ import annotations

from verify.engine.record import Record
from verify.levels.command import PUBLISHED_TASKS, SPECTRAL, Level, measure_levels

STANDARD_ERRORS = 3.0


def check_reference_levels(seed: int, instances: int) -> list[Record]:
    """EM at d in {2, 8}, spectral at d in {8, 32}, both for K in {3, 5}, 1,024 tasks a cell."""
    levels = measure_levels(PUBLISHED_TASKS, seed)
    return [
        _record(
            "EM reproduces its published error levels, each within 3 combined standard errors",
            [level for level in levels if level.method != SPECTRAL],
            seed,
        ),
        _record(
            "spectral (variance known) reproduces its published error levels and shares of bad tasks, each "
            "within 3 combined standard errors",
            [level for level in levels if level.method == SPECTRAL],
            seed,
        ),
    ]


def _record(claim: str, levels: list[Level], seed: int) -> Record:
    compared = [level for level in levels if level.distance is not None]
    furthest = max(compared, key=lambda level: level.distance or 0.0)
    distance = furthest.distance or 0.0
    cells = {(level.n_features, level.n_components) for level in compared}
    n_failed = sum(level.n_failed for level in compared)
    return Record(
        claim=claim,
        source="levels measured beforehand on the tasks of arXiv 2505.11918",
        evidence="sampled",
        bound=STANDARD_ERRORS,
        observed=distance,
        instances=PUBLISHED_TASKS * len(cells),
        dtype="float64",
        seed=seed,
        seconds=sum(level.seconds for level in levels),
        passed=all(level.reproduced for level in compared),
        note=f"{len(compared)} levels; furthest: {furthest.method}, d = {furthest.n_features}, "
        f"K = {furthest.n_components}" + (f"; {n_failed} tasks without an estimate" if n_failed else ""),
    )
