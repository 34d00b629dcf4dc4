"""Error levels on the paper's task distribution, measured again and compared with the published ones.

    python -m verify.reference_levels --tasks 1024 --seed 0 --out DIR

Each cell (d, K) is kept in parts/ of --out as soon as it is measured: after Ctrl-C or a kill the same command
goes on.

The published levels are means over 1,024 tasks of their own, printed to three figures with the share of bad
tasks (above ten times the oracle's error) but without a standard error. Both sides are random, so a mean
counts as reproduced when

    |measured - published| <= 3 sqrt(se_measured^2 + se_published^2) + half a unit of the last printed figure

and only for 1,024 tasks or more. Bad tasks make most of some means and are few (0.2 % of 64 tasks is 0.1): in
a smaller sample they are nearly always missing, and its standard error with them, or one of them is the mean.
Shares of bad tasks are compared, for fewer than 1,024 tasks of every method, by Fisher's exact test of equal
shares. `distance` is the normal deviate of its two-sided p-value, so that 3 is p = 0.0027 there too; in a
small sample of p times the number of shares compared (11), so that a whole run fails by chance once in 370.
The published share may be any number of tasks that is printed so.

se_published is derived from what is printed: with a share q of bad tasks, the rest at the oracle's error m,
the mean fixes the error of a bad task at m + (mean - m)/q, and q (1 - q) ((mean - m)/q)^2 is the variance
between good and bad. The variance among good tasks is taken to be the oracle's. Both are divided by 1,024.

For the spectral method the share of bad tasks is compared at 1,024 too, by the same test, because there the
mean says little: as the K-th eigenvalue e of M2 goes to 0, an estimated mean grows like 1/e and its squared
error like 1/e^2, and e has a positive density at 0, so the error has no expectation. At d = 8, K = 5 it
shows: over seeds 0 to 3 the mean is between 0.13 and 60, decided by a task or two, and the share of bad tasks
between 3.1 and 3.5 %. A task with e <= 0 has no estimate and is marked by baselines.spectral (1 of 20,480 at
d = 8, K = 5, seeds 0 to 19, and none in the other cells). It counts as bad; mean, standard error, median and
p90 are over the tasks with an estimate. What the published run did with such a task is not told; with one in
twenty cells of 1,024 it had none or one. The published spectral levels at d = 2 are those of an estimator
that returns numbers for K > d; here that is refused, so they are not compared.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.em import em
from baselines.metrics import Summary, errors, summarise
from baselines.mixture import Mixture
from baselines.spectral import spectral
from baselines.tasks import Tasks, paper_tasks
from console.cells import Cells
from console.errors import BROKEN, checking_input
from console.folder import RESULTS
from console.memory import check_fits
from console.output import check_out, write_json
from console.terminal import print_table, progress, widen

COMMAND = "verify.reference_levels"
ROOMS = ("constructions", "baselines", "verify")
CELLS = tuple((d, K) for d in (2, 8, 32) for K in (3, 5))
"""(d, K)."""
PUBLISHED_TASKS = 1024
N_SAMPLES = 128
TOL = 1e-6
MAX_ITER = 1000

ORACLE = "EM from the truth"
RESTARTS = "EM, k-means++ x10, best"
SINGLE = "EM, N(0, I) once"
GREEDY = "EM, greedy k-means++ x10, best"
SPECTRAL = "spectral, variance known"

METHODS = {2: (RESTARTS, SINGLE, GREEDY), 8: (RESTARTS, SINGLE, GREEDY, SPECTRAL), 32: (SPECTRAL,)}
"""What is measured at each d, beside the oracle."""


@dataclass(frozen=True)
class Published:
    """A printed level: mean total error, % of bad tasks (None: not printed), half of its last digit."""

    mean: float
    percent_bad: float | None
    rounding: float


SMALL = (
    f"Fewer than {PUBLISHED_TASKS:,} tasks: shares of bad tasks are compared, by Fisher's exact test. A mean "
    "is not: the few bad tasks that make it are missing in a small sample, or weigh too much."
)

LEVELS = {
    (ORACLE, 2, 3): Published(0.040, None, 0.0005),
    (ORACLE, 2, 5): Published(0.102, None, 0.0005),
    (ORACLE, 8, 3): Published(0.028, None, 0.0005),
    (ORACLE, 8, 5): Published(0.048, None, 0.0005),
    (RESTARTS, 2, 3): Published(0.061, 0.5, 0.0005),
    (RESTARTS, 2, 5): Published(0.190, 2.6, 0.0005),
    (RESTARTS, 8, 3): Published(0.028, 0.0, 0.0005),
    (RESTARTS, 8, 5): Published(0.057, 0.2, 0.0005),
    (SINGLE, 2, 3): Published(0.710, 8.1, 0.0005),
    (SINGLE, 2, 5): Published(0.912, 23.0, 0.0005),
    (SINGLE, 8, 3): Published(0.906, 14.0, 0.0005),
    (SINGLE, 8, 5): Published(1.777, 46.0, 0.0005),
    (SPECTRAL, 8, 3): Published(0.034, 0.2, 0.0005),
    (SPECTRAL, 8, 5): Published(0.182, 4.0, 0.0005),
    (SPECTRAL, 32, 5): Published(0.048, 0.0, 0.0005),
}


@dataclass(frozen=True)
class Level:
    """One method in one cell: what was measured and, where a level is published, whether it is reproduced.

    `distance` is (|measured - published| - rounding) in combined standard errors, floored at 0; for the
    spectral method the larger of that of the mean and that of the share of bad tasks; for fewer than 1,024
    tasks that of the share alone, None where none is published. n_failed tasks had no
    estimate: they are bad, and in no other figure.
    """

    method: str
    n_features: int
    n_components: int
    measured: Summary
    published: float | None
    combined_standard_error: float | None
    distance: float | None
    n_failed: int
    seconds: float

    @property
    def reproduced(self) -> bool:
        return self.distance is None or self.distance <= 3


def measure_levels(
    n_tasks: int = 1024, seed: int = 0, cells: Sequence[tuple[int, int]] = CELLS
) -> list[Level]:
    """Total error of EM and of the spectral method (unit covariance, N = 128, float64) in every cell (d, K).

    EM from the truth everywhere. At d = 2 and 8 the two published ways to start EM, and greedy k-means++ x10
    for comparison (no published level). EM runs until the log-likelihood per point changes by less than 1e-6,
    at most 1,000 steps: at 1e-3 it stops too early at d = 2 and the oracle comes out at 0.066 instead of
    0.102 for K = 5. "k-means++" is the plain one, one draw for each mean: with a single start it is at 1.5
    for d = 8, K = 5, as published, and greedy at 0.2. At d = 8 and 32 the spectral method: variance given as
    1, 10 starts of 30 steps, normalised weights (raw ones move the levels by less than a standard error).
    Raises ValueError for n_tasks < 2 and as paper_tasks does.
    """
    check_tasks(n_tasks)
    return [level for d, K in cells for level in measure_cell(n_tasks, seed, d, K)]


def measure_cell(
    n_tasks: int, seed: int, d: int, K: int, start: Callable[[str], None] = lambda name: None
) -> list[Level]:
    """The levels of one cell, a function of the arguments; `start` is called with each method's name."""
    generator = torch.Generator().manual_seed(seed)
    tasks = paper_tasks(n_tasks, d, K, N_SAMPLES, generator)
    levels, oracle = [], None
    for method in (ORACLE, *METHODS[d]):
        start(f"d = {d}, K = {K}: {method}")
        total, seconds = _total_errors(method, tasks, generator)
        oracle = total if oracle is None else oracle
        levels.append(_level(method, d, K, total, oracle, seconds))
    return levels


def _kept_levels(n_tasks: int, seed: int, kept: Cells) -> list[Level]:
    """Those of all cells, from disk where an earlier call measured them."""
    named = {f"d{d}-K{K}": (d, K) for d, K in CELLS}

    def compute(key: str) -> list[dict[str, Any]]:
        return [asdict(level) for level in measure_cell(n_tasks, seed, *named[key], start)]

    with progress(sum(1 + len(METHODS[named[key][0]]) for key in kept.missing(list(named)))) as start:
        records = [record for _, cell in kept.all_of(list(named), compute) for record in cell]
    return [Level(**record | {"measured": Summary(**record["measured"])}) for record in records]


def check_tasks(n_tasks: int) -> None:
    """ValueError for fewer than the 2 tasks that a standard error needs."""
    if n_tasks < 2:
        raise ValueError(f"--tasks {n_tasks}: at least 2 are needed")


def _total_errors(method: str, tasks: Tasks, generator: torch.Generator) -> tuple[torch.Tensor, float]:
    """Total error of every task, NaN for one without an estimate, and seconds."""
    started = time.perf_counter()
    K = tasks.truth.n_components
    settings = {"tol": TOL, "max_iter": MAX_ITER, "generator": generator}
    if method == SPECTRAL:
        return _spectral_errors(tasks, generator), time.perf_counter() - started
    if method == ORACLE:
        result = em(tasks.X, init=tasks.truth, **settings)
    elif method == RESTARTS:
        result = em(tasks.X, K, init="plain-k-means++", n_init=10, **settings)
    elif method == SINGLE:
        result = em(tasks.X, K, init="normal", **settings)
    else:
        result = em(tasks.X, K, init="k-means++", n_init=10, **settings)
    return errors(result.mixture, tasks.truth).total, time.perf_counter() - started


def _spectral_errors(tasks: Tasks, generator: torch.Generator) -> torch.Tensor:
    result = spectral(tasks.X, tasks.truth.n_components, generator=generator, on_failure="mark")
    found = ~result.failed
    truth = Mixture(tasks.truth.weights[found], tasks.truth.means[found])
    total = torch.full_like(result.variance, torch.nan)
    total[found] = errors(result.select(found), truth).total
    return total


def _level(method: str, d: int, K: int, total: torch.Tensor, oracle: torch.Tensor, seconds: float) -> Level:
    found = ~total.isnan()
    n_failed = int((~found).sum())
    measured, floor = summarise(total[found], oracle[found]), summarise(oracle, oracle)
    bad = (measured.percent_bad * int(found.sum()) + 100 * n_failed) / len(total)
    measured = replace(measured, percent_bad=bad)
    published = LEVELS.get((method, d, K))
    if published is None:
        return Level(method, d, K, measured, None, None, None, n_failed, seconds)
    small = len(total) < PUBLISHED_TASKS
    among = sum(level.percent_bad is not None for level in LEVELS.values()) if small else 1
    share = None
    if published.percent_bad is not None:
        share = share_distance(measured, published, len(total), among)
    if small:
        return Level(method, d, K, measured, published.mean, None, share, n_failed, seconds)
    combined = math.hypot(measured.standard_error, published_standard_error(published, floor))
    distance = max(0.0, abs(measured.mean - published.mean) - published.rounding) / combined
    if method == SPECTRAL and share is not None:
        distance = max(distance, share)
    return Level(method, d, K, measured, published.mean, combined, distance, n_failed, seconds)


def share_distance(measured: Summary, published: Published, n_tasks: int, among: int = 1) -> float:
    """Normal deviate of the two-sided p-value of Fisher's exact test that both shares of bad tasks are one.

    The p-value is multiplied by `among`, the number of shares that are compared together (Bonferroni).

    Of the numbers of published tasks whose share is printed so (within 0.05 %), the one that fits best.
    """
    bad, percent = round(measured.percent_bad * n_tasks / 100), published.percent_bad or 0.0
    at_one = PUBLISHED_TASKS / 100
    least, most = math.ceil((percent - 0.05) * at_one), math.floor((percent + 0.05) * at_one)
    counts = {round(percent * at_one), *range(max(0, least), most + 1)}
    tables = [[[bad, n_tasks - bad], [count, PUBLISHED_TASKS - count]] for count in counts]
    from scipy import stats  # takes a second to load

    found: list[Any] = [stats.fisher_exact(table) for table in tables]
    p = max(float(one.pvalue) for one in found)
    return float(stats.norm.isf(min(p * among, 1.0) / 2))


def published_standard_error(published: Published, oracle: Summary) -> float:
    """Standard error of a published mean over 1,024 tasks, by the model of this module's docstring."""
    variance = oracle.standard_error**2 * oracle.n_tasks
    if published.percent_bad:
        share = published.percent_bad / 100
        excess = (published.mean - oracle.mean) / share
        variance += share * (1 - share) * excess**2
    return math.sqrt(variance / PUBLISHED_TASKS)


COLUMNS = ("method", "d", "K", "mean", "s.e.", "median", "p90", "% bad", "failed", "published", "distance")


def print_levels(console: Console, levels: list[Level]) -> None:
    """One row for each method and cell."""
    rows = []
    for level in levels:
        m = level.measured
        row = [level.method, str(level.n_features), str(level.n_components)]
        row += [f"{x:.4f}" for x in (m.mean, m.standard_error, m.median, m.p90)]
        row += [f"{m.percent_bad:.1f}", str(level.n_failed)]
        row.append("-" if level.published is None else f"{level.published:.3f}")
        compared = level.distance is not None
        row += [f"{level.distance:.2f}", "yes" if level.reproduced else "NO"] if compared else ["-", "-"]
        rows.append(row)
    title = f"Total error on the paper's tasks, N = {N_SAMPLES}"
    print_table(console, title, (*COLUMNS, "within 3"), rows)


def compare(tasks: int, seed: int, out: Path) -> int:
    """Measure the levels, print and write them; the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    with checking_input():
        check_tasks(tasks)
        check_fits("tasks", tasks, 300_000)  # ten starts of EM at once on 128 points
    run = {"tasks": tasks, "seed": seed}
    check_out(out, COMMAND, (), run)
    cells = Cells(out, COMMAND, run, ROOMS)
    with cells.stopping([f"d{d}-K{K}" for d, K in CELLS]):
        levels = _kept_levels(tasks, seed, cells)
        passed = all(level.reproduced for level in levels)
        console = Console()
        widen(console)
        print_levels(console, levels)
        if tasks < PUBLISHED_TASKS:
            console.print(SMALL, style="dim", highlight=False)
        settings = {"n_tasks": tasks, "n_samples": N_SAMPLES, "tol": TOL, "max_iter": MAX_ITER}
        records = [asdict(level) | {"reproduced": level.reproduced} for level in levels]
        content = {"settings": settings, "seed": seed, "records": records, "passed": passed}
        write_json(out, COMMAND, run, content)
    console.print(f"wrote {out / RESULTS}")
    return 0 if passed else BROKEN
