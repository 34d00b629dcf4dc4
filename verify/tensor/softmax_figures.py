"""The pictures of the softmax tensor power check."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from console.output import Picture
from verify.engine.drawing import coloured, curve, finish, panels
from verify.engine.tables import grouped
from verify.tensor.path_figure import path_picture
from verify.tensor.rows import PathRow
from verify.tensor.softmax_rows import Best, Point

NAMES = ("error_against_epsilon", "error_against_sink", "pairs_and_dtypes", "paths")
"""Of every picture that may be made."""

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


def _measured(axes: Axes, x: Sequence[float], points: list[Point], color: int, label: str) -> None:
    curve(axes, x, (p.error for p in points), "o", color, label)
    curve(axes, x, (p.predicted for p in points), "-", color)
    curve(axes, x, (p.bound for p in points), "--", color)


def _run(of: Point | Best) -> tuple[str, str]:
    return of.problem, of.dtype


def _against_epsilon(points: list[Point], best: list[Best]) -> Picture:
    runs = grouped(points, _run)
    figure, axes_of = panels(len(runs), 5.4, 4.4)
    for axes, (name, here) in zip(axes_of, runs.items(), strict=True):
        for pairs, unordered in grouped(here, lambda p: p.pairs).items():
            chosen = sorted(unordered, key=lambda p: p.epsilon)
            _measured(axes, [p.epsilon for p in chosen], chosen, pairs - 1, f"p = {pairs}")
        for b in best:
            if _run(b) == name:
                axes.axvline(b.predicted_epsilon, color=f"C{b.pairs - 1}", linewidth=0.7, linestyle=":")
        axes.set_xscale("log")
        finish(axes, "eps", ERROR, ", ".join(name))
    caption = (
        "Error of one step against eps for p pairs of heads a product. Dots: measured. Line: predicted, the "
        "approximation eps^(2p) of each instance plus the rounding expected, which grows like 1/eps. Dashed: "
        "the proved bound. Dotted: the eps at which the prediction is least."
    )
    return Picture("error_against_epsilon", caption, figure)


def _against_sink(sinks: list[Point]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.4)
    for color, name, chosen in coloured(sinks, _run):
        _measured(axes, [p.sink for p in chosen], chosen, color, ", ".join(name))
    finish(axes, "score c of the sink", ERROR, f"Height of the sink, p = {sinks[0].pairs}")
    caption = (
        "Error of one step against the score c of the sink token, at the eps predicted for rounding alone. "
        "At c = 0 the sink is a token like the others, and softmax does not multiply. The error falls like "
        "e^-c until rounding, which doubles at powers of two of c, takes over. Dots, line, dashes: measured, "
        "predicted, bound."
    )
    return Picture("error_against_sink", caption, figure)


def _pairs(best: list[Best]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.2)
    for color, name, chosen in coloured(best, _run):
        heads = [b.heads for b in chosen]
        curve(axes, heads, (b.error for b in chosen), "o-", color, ", ".join(name))
        curve(axes, heads, (b.predicted_error for b in chosen), "x:", color)
    finish(axes, "heads, 2 p d", "best error of one step / natural scale", "What more heads buy", steps=True)
    caption = (
        "The least error over eps (dots) against the number of heads, and the error predicted at the "
        "predicted eps (crosses). ReLU attention takes 2 d heads and is exact."
    )
    return Picture("pairs_and_dtypes", caption, figure)
