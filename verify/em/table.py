"""The results of the EM check on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from baselines.agreement import Agreement
from console.fit_table import print_agreement, print_fit
from console.output import significant
from console.terminal import print_verdict, widen
from verify.em.estimates import Estimates
from verify.em.measure import Measurement
from verify.em.sweep import SweepPoint, slopes
from verify.engine.record import quotient
from verify.engine.tables import grouped, print_rows

CONVERGED = 1e-3
"""A gain of the log-likelihood per point in one step at which scikit-learn stops by default."""

LEGEND = (
    "error, p90: largest mean error of a task against the EM path from the same start, median and 90th "
    "percentile. bound/err, least: instance bound of one step over its error, median and smallest. a-priori: "
    "the bound uniform over data, over the error. path: the bound on all steps so far, over the error, in "
    "the tasks (of all) for which it is below the diameter of the data. Lip: median factor by which that "
    "bound carries earlier errors. round64, round32: the rounding part of the one-step bound."
)
COLUMNS = (
    *(("pieces", "setting.pieces_mean"), ("step", "step"), ("error", "path.largest_mean_error.median")),
    *(("p90", "path.largest_mean_error.p90"), ("bound/err", "one_step.instance_ratio.median")),
    *(("least", "one_step.instance_ratio.min", 4), ("a-priori", "one_step.apriori_ratio.median")),
    *(("path", "path.ratio.median"), ("tasks", "said"), ("Lip", "lipschitz")),
    *(("round64", "one_step.rounding_part.float64"), ("round32", "one_step.rounding_part.float32")),
    ("bounds", "broken.total"),
)

COVARIANCE_LEGEND = (
    "error: largest mean error of a task against the EM path from the same start, median. bound/err, least: "
    "instance bound of one step over its error, median and smallest. a-priori: the bound uniform over data, "
    "over the error. path: the bound on all steps so far, over the error, in the tasks (of all) for which it "
    "is below the diameter of the data; it uses no contraction, so it grows from step to step. cov, "
    "cov b/e, least: error, and bound of one step over its error, of the covariances (Frobenius norm; of "
    "diagonal ones the length of the difference of variances). round64: the rounding part of the one-step "
    "bound of a mean."
)
COVARIANCE_COLUMNS = (
    *COLUMNS[:3],
    *COLUMNS[4:9],
    *(("cov", "path.largest_covariance_error.median"), ("cov b/e", "one_step.covariance_ratio.median")),
    *(("least", "one_step.covariance_ratio.min", 4), COLUMNS[-3], COLUMNS[-1]),
)
"""Of kinds other than unit."""


def print_results(
    console: Console,
    measurements: list[Measurement],
    best: dict[str, list[SweepPoint]],
    equal: dict[str, list[SweepPoint]],
) -> None:
    """A table a problem (first, second and last step; the page has them all), slopes, splits, the verdict."""
    widen(console)
    unit = measurements[0].em.covariance_type == "unit"
    for label, group in grouped(measurements, lambda m: m.problem.label).items():
        shown = [m.records[i] for m in group for i in sorted({0, min(1, m.run.steps - 1), m.run.steps - 1})]
        title = f"{label}: distance between the means of EM and of the layers"
        print_rows(console, title, COLUMNS if unit else COVARIANCE_COLUMNS, shown)
    console.print(LEGEND if unit else COVARIANCE_LEGEND, style="dim")
    for (name, note), places in sorted(_notes(measurements).items()):
        where = "; ".join(f"{pieces} pieces, step {steps}" for pieces, steps in places.items())
        console.print(f"{name}: {note} ({where})", markup=False)
    for name, slope in slopes(best or equal).items():
        console.print(f"slope of log error over log pieces, {name}: {slope.slope:.2f}")
    _print_splits(console, best, equal)
    print_verdict(console, all(m.passed for m in measurements), "every bound held", "A BOUND IS BROKEN")


def print_estimates(
    console: Console, found: Estimates, columns: Sequence[str], labels: Agreement | None, steps: int
) -> None:
    """The fit by EM, how far the layers' is from it, and how its components agree with labels."""
    if found.em is None or found.construction is None:
        console.print(f"no fit: {found.why}", markup=False, soft_wrap=True)
        return
    print_fit(console, found.em.fit(f"The fit: EM after {steps} steps, {found.start} start", columns))
    apart = found.em.furthest(found.construction)
    told = ", ".join(f"{name} {significant(value)}" for name, value in apart.items())
    console.print(f"the layers' fit differs at most by: {told}", highlight=False)
    gain, level = found.gain_in_last_step, found.log_likelihood_per_point
    line = f"log-likelihood a point {significant(level, 5)}, raised by {significant(gain)} in the last step"
    if gain is not None and gain > CONVERGED:
        line += f": --steps {10 * steps} goes on towards convergence"
    console.print(line, highlight=False, soft_wrap=True)
    if labels is not None:
        print_agreement(console, **vars(labels))


def _notes(measurements: list[Measurement]) -> dict[tuple[str, str], dict[int, str]]:
    """(problem, note) -> pieces -> the steps at which it was made."""
    notes: dict[tuple[str, str], dict[int, str]] = {}
    for record in (r for m in measurements for r in m.records if r.line.note):
        found = notes.setdefault((record.setting.name, record.line.note), {})
        pieces = record.setting.pieces_mean
        found[pieces] = f"{found[pieces]}, {record.step}" if pieces in found else str(record.step)
    return notes


def _print_splits(
    console: Console, best: dict[str, list[SweepPoint]], equal: dict[str, list[SweepPoint]]
) -> None:
    for name, points in best.items():
        others = {other.pieces: other for other in equal[name]}
        point = [point for point in points if point.pieces in others][-1]
        other = others[point.pieces]
        console.print(
            f"best split of {3 * point.pieces} pieces, {name}: a-priori rho {significant(point.rho)}, "
            f"equal split {significant(other.rho)} ({quotient(other.rho, point.rho):.2f} times); "
            f"measured error {significant(point.error)}, equal split {significant(other.error)}"
        )
