"""The cells of the study: one factor at a time from a baseline, then combinations around the strongest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.comparison.finding.learning.cells import MANY_SIZES, Cell

BASELINE = Cell("baseline", "baseline", "output only, AdamW, fresh tasks of 32 points")
TRACED = replace(BASELINE, supervision="trace", sub_layers=True)
FORCED = replace(TRACED, supervision="forced")
STRONGEST = replace(FORCED, sizes=MANY_SIZES, optimiser="Muon", learning_rate=1e-2)
"""What the combinations are made around: exact states before every sub-layer, tasks of many sizes, Muon."""


@dataclass(frozen=True)
class FindingSettings:
    """How much is trained.

    cells    their names.
    steps    of training, all cells but those that say longer.
    seeds    networks a cell; they have the numbers 1,000 seed, 1,000 seed + 1, ...
    tasks    held-out tasks. block_tasks: those whose states the blocks are weighed by.
    used     networks a cell whose use of EM's variables is measured.
    quick    too little to conclude.
    """

    cells: tuple[str, ...]
    steps: int = 2000
    seeds: int = 5
    tasks: int = 256
    block_tasks: int = 64
    used: int = 3
    seed: int = 0
    quick: bool = False

    @property
    def numbers(self) -> list[int]:
        """Of the networks of a cell."""
        return [1000 * self.seed + place for place in range(self.seeds)]


def settings_of(quick: bool, seed: int) -> FindingSettings:
    """All cells, or with quick a few with too few steps, one for each way through the code."""
    if quick:
        return FindingSettings(
            QUICK_CELLS, steps=30, seeds=2, tasks=32, block_tasks=16, used=1, seed=seed, quick=True
        )
    return FindingSettings(tuple(CELLS), seed=seed)


def _varied(base: Cell, factor: str, level: str, name: str, **changed: object) -> Cell:
    return replace(base, name=name, factor=factor, level=level, **changed)


def _supervised() -> list[Cell]:
    b = BASELINE
    return [
        _varied(b, "supervision", "output of every step", "every-step", supervision="every step"),
        _varied(b, "supervision", "trace, layers", "trace", supervision="trace"),
        _varied(TRACED, "supervision", "trace, sub-layers", "trace-sub"),
        _varied(b, "supervision", "trace, layers, forced", "forced", supervision="forced"),
        _varied(FORCED, "supervision", "trace, sub-layers, forced", "forced-sub"),
    ]


def _one_at_a_time() -> list[Cell]:
    b = BASELINE
    found = [
        _varied(b, "layer given", "E", "given-e", given="E"),
        _varied(b, "layer given", "M", "given-m", given="M"),
        _varied(TRACED, "layer given", "E, trace", "given-e-trace", given="E"),
        _varied(TRACED, "layer given", "M, trace", "given-m-trace", given="M"),
        _varied(b, "heads and units", "x 4", "wide-4", heads=4, units=4),
        _varied(b, "heads and units", "heads x 4, units x 16", "wide-16", heads=4, units=16),
        _varied(b, "size of first weights", "x 1/3", "first-third", initial_scale=1 / 3),
        _varied(b, "size of first weights", "x 3", "first-3", initial_scale=3.0),
        _varied(b, "activation", "GELU", "gelu", activation="gelu"),
        _varied(b, "optimiser", "Muon", "muon", optimiser="Muon"),
        _varied(b, "optimiser", "Muon, rate 1e-2", "muon-rate", optimiser="Muon", learning_rate=1e-2),
        _varied(b, "optimiser", "AdamW, rate 1e-2", "adamw-rate", learning_rate=1e-2),
        _varied(b, "steps of training", "x 3", "longer", longer=3),
        _varied(b, "decay", "weight decay 0.1", "decay", weight_decay=0.1),
        _varied(b, "decay", "L1, 1e-4", "sparse", sparsity=1e-4),
        _varied(b, "curriculum", "1 to L loops", "curriculum", curriculum=True),
        _varied(b, "points a task", "4 to 32", "sizes", sizes=MANY_SIZES),
    ]
    for rate in (0.01, 0.1, 1.0):
        level, name = f"gradient descent, rate {rate:g}", f"descent-{rate:g}"
        changed = {"optimiser": "gradient descent", "learning_rate": rate}
        found.append(_varied(b, "optimiser", level, name, **changed))
    for count in (100, 1_000, 10_000, 100_000):
        found.append(_varied(b, "tasks", f"{count:,}", f"tasks-{count}", fixed_tasks=count))
    return found


def _sized() -> list[Cell]:
    b, found = BASELINE, []
    for d, K in ((1, 2), (1, 3), (2, 2)):
        changed = {"n_features": d, "n_components": K}
        found.append(_varied(b, "d and K", f"d = {d}, K = {K}", f"d{d}-k{K}", **changed))
    for loops in (1, 3):
        found.append(_varied(b, "EM steps", f"L = {loops}", f"loops-{loops}", loops=loops))
    return found


def _combined() -> list[Cell]:
    """The strongest, each of its conditions taken away by itself, then further ones added to it."""
    s = STRONGEST
    without = [
        ("AdamW in place of Muon", "strongest-adamw", {"optimiser": "AdamW"}),
        ("rate 3e-3", "strongest-rate", {"learning_rate": 3e-3}),
        ("tasks of 32 points", "strongest-32", {"sizes": (32,)}),
        ("whole layers", "strongest-layers", {"sub_layers": False}),
        ("own states", "strongest-own", {"supervision": "trace"}),
        ("output only", "strongest-output", {"supervision": "output", "sub_layers": False}),
    ]
    more = [
        ("E given", "strongest-e", {"given": "E"}),
        ("M given", "strongest-m", {"given": "M"}),
        ("heads and units x 4", "strongest-wide", {"heads": 4, "units": 4}),
        ("weight decay 0.1", "strongest-decay", {"weight_decay": 0.1}),
        ("L1, 1e-4", "strongest-sparse", {"sparsity": 1e-4}),
        ("d = 1, K = 3", "strongest-d1-k3", {"n_features": 1}),
        ("d = 2, K = 2", "strongest-d2-k2", {"n_components": 2}),
        ("3 times the steps", "strongest-longer", {"longer": 3}),
        (
            "output only in the last third of 3 times the steps",
            "strongest-finish",
            {"longer": 3, "finish": 1 / 3},
        ),
    ]
    what = "exact states before every sub-layer, 4 to 32 points, Muon, rate 1e-2"
    found = [_varied(s, "combination", what, "strongest")]
    found += [_varied(s, "combination but", level, name, **changed) for level, name, changed in without]
    return found + [_varied(s, "combination and", level, name, **changed) for level, name, changed in more]


CELLS: dict[str, Cell] = {
    cell.name: cell for cell in (BASELINE, *_supervised(), *_one_at_a_time(), *_sized(), *_combined())
}
"""By name, in the order of the report."""

QUICK_CELLS = (
    *("baseline", "every-step", "trace", "forced-sub", "given-e", "given-m-trace", "wide-4", "gelu", "muon"),
    *(
        "descent-0.1",
        "sparse",
        "tasks-100",
        "curriculum",
        "d1-k3",
        "loops-1",
        "strongest",
        "strongest-finish",
    ),
)
