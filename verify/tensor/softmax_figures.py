"""The pictures of the softmax tensor power check."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from console.figures import on_log_axis, plain
from console.output import Picture
from verify.tensor.relu_figures import path_picture
from verify.tensor.relu_rows import Row
from verify.tensor.softmax_rows import Best, Point

NAMES = ("error_against_epsilon", "error_against_sink", "pairs_and_dtypes", "paths")
"""Of every picture that may be made."""

PATHS_CAPTION = (
    "All normalised steps so far: largest error over the starts (dots) and median bound (dashed). Random "
    "tensors do not contract: errors are carried on, and the bound lets them grow. Near a component of an "
    "orthogonally decomposable tensor they fade (the components found with deflation, above)."
)


def pictures(points: list[Point], best: list[Best], sinks: list[Point], paths: list[Row]) -> list[Picture]:
    """Every figure of the check, in the order of the report."""
    found = [_against_epsilon(points, best), _against_sink(sinks), _pairs(best)]
    return [*found, path_picture(paths, PATHS_CAPTION)] if paths else found


def _against_epsilon(points: list[Point], best: list[Best]) -> Picture:
    panels = list(dict.fromkeys((p.problem, p.dtype) for p in points))
    figure = Figure(figsize=(5.4 * len(panels), 4.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for pairs in sorted({p.pairs for p in points}):
            chosen = [p for p in points if (p.problem, p.dtype) == panel and p.pairs == pairs]
            chosen = sorted(chosen, key=lambda p: p.epsilon)
            epsilons = [p.epsilon for p in chosen]
            color = f"C{pairs - 1}"
            axes.loglog(
                epsilons,
                on_log_axis(p.error for p in chosen),
                "o",
                color=color,
                label=f"p = {pairs}",
                markersize=4,
            )
            axes.loglog(epsilons, on_log_axis(p.predicted for p in chosen), "-", color=color, linewidth=1)
            axes.loglog(epsilons, on_log_axis(p.bound for p in chosen), "--", color=color, linewidth=1)
        for b in best:
            if (b.problem, b.dtype) == panel:
                axes.axvline(b.predicted_epsilon, color=f"C{b.pairs - 1}", linewidth=0.7, linestyle=":")
        axes.set_title(plain(", ".join(panel)), fontsize=10)
        axes.set_xlabel("eps")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("error of one step / natural scale, median")
    figure.axes[0].legend(fontsize=8)
    caption = (
        "Error of one step against eps for p pairs of heads a product. Dots: measured. Line: predicted, the "
        "approximation eps^(2p) of each instance plus the rounding expected, which grows like 1/eps. Dashed: "
        "the proved bound. Dotted: the eps at which the prediction is least."
    )
    return Picture("error_against_epsilon", caption, figure)


def _against_sink(sinks: list[Point]) -> Picture:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for color, name in enumerate(dict.fromkeys((p.problem, p.dtype) for p in sinks)):
        chosen = [p for p in sinks if (p.problem, p.dtype) == name]
        heights = [p.sink for p in chosen]
        axes.semilogy(
            heights,
            on_log_axis(p.error for p in chosen),
            "o",
            color=f"C{color}",
            label=plain(", ".join(name)),
        )
        axes.semilogy(heights, on_log_axis(p.predicted for p in chosen), "-", color=f"C{color}", linewidth=1)
        axes.semilogy(heights, on_log_axis(p.bound for p in chosen), "--", color=f"C{color}", linewidth=1)
    axes.set_xlabel("score c of the sink")
    axes.set_ylabel("error of one step / natural scale, median")
    axes.set_title(f"Height of the sink, p = {sinks[0].pairs}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    caption = (
        "Error of one step against the score c of the sink token, at the eps predicted for rounding alone. "
        "At c = 0 the sink is a token like the others, and softmax does not multiply. The error falls like "
        "e^-c until rounding, which doubles at powers of two of c, takes over. Dots, line, dashes: measured, "
        "predicted, bound."
    )
    return Picture("error_against_sink", caption, figure)


def _pairs(best: list[Best]) -> Picture:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for color, name in enumerate(dict.fromkeys((b.problem, b.dtype) for b in best)):
        chosen = [b for b in best if (b.problem, b.dtype) == name]
        heads = [b.heads for b in chosen]
        axes.semilogy(
            heads, on_log_axis(b.error for b in chosen), "o-", color=f"C{color}", label=plain(", ".join(name))
        )
        axes.semilogy(heads, on_log_axis(b.predicted_error for b in chosen), "x:", color=f"C{color}")
    axes.set_xlabel("heads, 2 p d")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("best error of one step / natural scale")
    axes.set_title("What more heads buy", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    caption = (
        "The least error over eps (dots) against the number of heads, and the error predicted at the "
        "predicted eps (crosses). ReLU attention takes 2 d heads and is exact."
    )
    return Picture("pairs_and_dtypes", caption, figure)
