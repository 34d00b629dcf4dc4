"""The pictures of the tensor power check."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from console.figures import on_log_axis, plain
from console.output import Picture
from constructions.tensor_power.iteration import PowerIteration
from verify.tensor.relu_rows import Row

NAMES = ("one_step", "paths", "growth", "weights_layer_1", "weights_layer_2")
"""Of every picture that may be made."""

LARGEST_DRAWN = 1e30
"""A bound relative to |v| that is larger says nothing, and stretches the axis beyond what floats hold."""

PATHS_CAPTION = (
    "All steps so far: largest error over the starts (line with dots) and median bound (dashed). The "
    "piecewise norm errs in length only, by its chords, and that does not add up over the steps."
)


def pictures(
    one_step: list[Row], paths: list[Row], growth: list[Row], shown: PowerIteration
) -> list[Picture]:
    """Every figure of the check; ``shown`` is a small construction whose weights are drawn."""
    found = [_one_step(one_step)]
    if paths:
        found.append(path_picture(paths, PATHS_CAPTION))
    if growth:
        found.append(_growth(growth))
    for number, figure in enumerate(shown.plot_weights(), 1):
        caption = (
            f"Layer {number} of the construction for d <= {shown.max_dim}: every dense matrix, named blocks "
            "on the axes. Apart from an offset, all weights are 0, 1 or -1."
        )
        found.append(Picture(f"weights_layer_{number}", caption, figure))
    return found


def _one_step(rows: list[Row]) -> Picture:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    names = list(dict.fromkeys(row["problem"] for row in rows))
    for color, form in enumerate(dict.fromkeys(row["form"] for row in rows)):
        chosen = [row for row in rows if row["form"] == form]
        places = [names.index(row["problem"]) for row in chosen]
        size = 9 - 2 * color  # lines that coincide show as rings
        bounds = on_log_axis(row["bound"] for row in chosen)
        axes.semilogy(places, bounds, "s--", color=f"C{color}", label=f"{form}: bound", markersize=size)
        errors = on_log_axis(row["error"] for row in chosen)
        axes.semilogy(places, errors, "o-", color=f"C{color}", label=f"{form}: measured", markersize=size)
    axes.set_xticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    axes.set_ylabel("error / sum |T v v|, largest over entries")
    axes.set_title("One step against exact arithmetic", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    caption = (
        "Rounding of one step: largest error of an entry over its natural scale, the sum of |T_ijm v_j v_m|, "
        "and the bound on it. An offset B adds rounding in proportion to B; pairs of heads need no bound on "
        "the data. A measured 0 is not drawn."
    )
    return Picture("one_step", caption, figure)


def path_picture(rows: list[Row], caption: str) -> Picture:
    """Error and bound of every step, a panel for each problem and a colour for each iteration."""
    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure = Figure(figsize=(4.8 * len(names), 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for color, form in enumerate(dict.fromkeys(row["form"] for row in rows)):
            chosen = [r for r in rows if r["problem"] == name and r["form"] == form]
            steps = [r["step"] for r in chosen]
            bounds = on_log_axis(r["bound"] if r["bound"] < LARGEST_DRAWN else None for r in chosen)
            axes.semilogy(steps, bounds, "--", color=f"C{color}")
            errors = on_log_axis(r["largest_error"] for r in chosen)
            axes.semilogy(steps, errors, "o-", color=f"C{color}", label=form, markersize=3)
        axes.set_title(plain(name), fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("|v, layers - v, reference| / |v|")
    figure.axes[0].legend(fontsize=8)
    return Picture("paths", caption, figure)


def _growth(rows: list[Row]) -> Picture:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    for color, row in enumerate(rows):
        steps = range(len(row["log10_length"]))
        label = f"{plain(row['problem'])}: {row['steps_taken']} steps run"
        axes.plot(steps, row["log10_length"], "o-", color=f"C{color}", label=label, markersize=3)
        axes.fill_between(steps, row["smallest"], row["largest"], color=f"C{color}", alpha=0.15)
    axes.set_yscale("symlog")
    axes.set_xlabel("step")
    axes.set_ylabel("log10 |v|")
    axes.set_title("Growth of the plain iteration", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    caption = (
        "log10 of the length of v under v <- T(I, v, v), median and range over the starts: it doubles every "
        "step, as |v| behaves like lambda^(2^L - 1). A run stops before a length leaves the dtype's range."
    )
    return Picture("growth", caption, figure)
