"""The pictures of the softmax tensor power check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes

from console.drawing import name_marks, slope_guide
from console.marks import GREY, INSTANCE, MEASURED, PREDICTED
from console.output import Picture
from verify.engine.drawing import BELOW, colour, coloured, curve, finish, named_groups, panels, picture
from verify.engine.tables import grouped
from verify.tensor.path_figure import path_picture
from verify.tensor.rows import PathRow
from verify.tensor.softmax_rows import Best, Point

NAMES = ("error_against_epsilon", "error_against_sink", "pairs_and_dtypes", "paths")
"""Of every picture that may be made."""

DOTS, LINE, DASHES = replace(MEASURED, line=""), replace(PREDICTED, marker=""), replace(INSTANCE, marker="")
"""Many points of three curves: one has the markers alone, two the lines alone."""

CROSSES = replace(PREDICTED, line=":")

TOP = 0.3
"""Of the largest eps: from there on the guides of the slope stand."""

ERROR = "error of one step / natural scale, median"


def pictures(
    points: list[Point], best: list[Best], sinks: list[Point], paths: list[PathRow]
) -> list[Picture]:
    """Every figure of the check, in the order of the report."""
    found = [_against_epsilon(points, best), _against_sink(sinks), _pairs(best)]
    caption = (
        "All normalised steps so far: largest error over the starts (dots) and median bound (dashed). Random "
        "tensors do not contract: errors are carried on, and the bound lets them grow. Near a component of "
        "an orthogonally decomposable tensor they fade (the components found with deflation, above)."
    )
    return [*found, path_picture(paths, caption)] if paths else found


def _measured(axes: Axes, x: Sequence[float], points: list[Point], color: int) -> None:
    curve(axes, x, (p.error for p in points), DOTS, color)
    curve(axes, x, (p.predicted for p in points), LINE, color)
    curve(axes, x, (p.bound for p in points), DASHES, color)


def _run(of: Point | Best) -> tuple[str, str]:
    return of.problem, of.dtype


def _against_epsilon(points: list[Point], best: list[Best]) -> Picture:
    runs = grouped(points, _run)
    figure, axes_of = panels(len(runs), 5.4, 4.4)
    for axes, (name, here) in zip(axes_of, runs.items(), strict=True):
        for pairs, unordered in grouped(here, lambda p: p.pairs).items():
            chosen = sorted(unordered, key=lambda p: p.epsilon)
            _measured(axes, [p.epsilon for p in chosen], chosen, pairs - 1)
            top = [p for p in chosen if p.epsilon >= TOP * chosen[-1].epsilon]
            at = [p.epsilon for p in top]
            through = BELOW * top[-1].error * (at[0] / at[-1]) ** (2 * pairs)
            slope_guide(axes, at, 2 * pairs, through, "slope 2p")
        for b in best:
            if _run(b) == name:
                axes.axvline(b.predicted_epsilon, color=colour(b.pairs - 1), linewidth=0.7, linestyle=":")
        axes.axvline(math.nan, color=GREY, linewidth=0.7, linestyle=":", label="best eps, predicted")
        axes.set_xscale("log")
        finish(axes, "eps", ERROR, ", ".join(name))
    caption = (
        "Error of one step against eps for p pairs of heads a product. Dots: measured. Line: predicted, the "
        "approximation eps^(2p) of each instance plus the rounding expected, which grows like 1/eps. Dashed: "
        "the proved bound. Dotted: the eps at which the prediction is least."
    )
    names = {f"p = {pairs}": colour(pairs - 1) for pairs in dict.fromkeys(p.pairs for p in points)}
    name_marks(axes_of[0], names, (DOTS, LINE, DASHES))
    return picture("error_against_epsilon", caption, figure)


def _against_sink(sinks: list[Point]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.4)
    for color, _, chosen in coloured(sinks, _run):
        _measured(axes, [p.sink for p in chosen], chosen, color)
    name_marks(axes, named_groups(", ".join(_run(p)) for p in sinks), (DOTS, LINE, DASHES))
    finish(axes, "score c of the sink", ERROR, f"Height of the sink, p = {sinks[0].pairs}")
    caption = (
        "Error of one step against the score c of the sink token, at the eps predicted for rounding alone. "
        "At c = 0 the sink is a token like the others, and softmax does not multiply. The error falls like "
        "e^-c until rounding, which doubles at powers of two of c, takes over. Dots, line, dashes: measured, "
        "predicted, bound."
    )
    return picture("error_against_sink", caption, figure)


def _pairs(best: list[Best]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.2)
    for color, _, chosen in coloured(best, _run):
        heads = [b.heads for b in chosen]
        curve(axes, heads, (b.error for b in chosen), MEASURED, color)
        curve(axes, heads, (b.predicted_error for b in chosen), CROSSES, color)
    name_marks(axes, named_groups(", ".join(_run(b)) for b in best), (MEASURED, CROSSES))
    finish(axes, "heads, 2 p d", "best error of one step / natural scale", "What more heads buy", steps=True)
    caption = (
        "The least error over eps (dots) against the number of heads, and the error predicted at the "
        "predicted eps (crosses). ReLU attention takes 2 d heads and is exact."
    )
    return picture("pairs_and_dtypes", caption, figure)
