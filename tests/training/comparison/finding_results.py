"""A small made-up result of the study, for tests of what is said of it and drawn."""

import math

from training.comparison.finding.design import CELLS, FindingSettings
from training.comparison.finding.interchange import VariableUse
from training.comparison.finding.measure import CellResult, Control, NetworkResult
from training.comparison.finding.study import FindingResult
from training.comparison.finding.uses import Uses

BLOCKS = [f"E MLP: block {place}, block {place}" for place in range(20)]


def network(seed: int, blocks: int, loss: float, trained: float = math.nan) -> NetworkResult:
    kinds = {"A": 1.0, "V": 1.0, "MLP": 1.0}
    return NetworkResult(seed, loss, trained, 1.0, BLOCKS[:blocks], 5, 1.0, kinds)


def uses(accuracy: float) -> Uses:
    """Two variables of one network; the second is half as much used."""
    parts = {"dimension": 3, "bases": 9, "decodable_r2": 0.5, "shuffled_r2": 0.0}
    parts |= {"shuffled_accuracy": 0.01, "r2": 0.0, "source_r2": 0.0}
    return Uses(
        [
            [
                VariableUse("responsibilities", 1, accuracy=accuracy, **parts),
                VariableUse("means", 1, accuracy=accuracy / 2, **parts),
            ]
        ]
    )


def made_up() -> FindingResult:
    """Three cells of two seeds: none finds, one of two finds, both find; and one that memorises."""
    counts = {"baseline": (1, 2), "strongest-adamw": (14, 15), "strongest": (20, 16), "tasks-100": (0, 0)}
    cells = [
        CellResult(
            CELLS[name], 10, 2e-4, BLOCKS,
            [network(seed, has, 100.0 / (1 + has), 3.0 if "tasks" in name else math.nan)
             for seed, has in enumerate(pair)],
            [(0, [1e5, 2e5]), (10, [100.0, 50.0])],
            uses(0.1 * pair[0]),
        )
        for name, pair in counts.items()
    ]  # fmt: skip
    controls = [
        Control("construction", [network(0, 20, 1.0)], uses(1.0)),
        Control("untrained", [network(0, 0, 1e5)], uses(0.0)),
    ]
    seconds = dict.fromkeys(counts, 1.0)
    return FindingResult(FindingSettings(tuple(counts), 10, 2), controls, cells, seconds, seconds)
