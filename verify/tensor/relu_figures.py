"""The pictures of the tensor power check."""

from __future__ import annotations

from console.drawing import name_marks
from console.figures import plain
from console.marks import INSTANCE, MEASURED
from console.output import Picture
from constructions.tensor_power.iteration import PowerIteration
from verify.engine.drawing import coloured, curve, finish, named_groups, panels, picture, weight_pictures
from verify.tensor.path_figure import path_picture
from verify.tensor.relu_rows import Growth, OneStep
from verify.tensor.rows import PathRow

NAMES = ("one_step", "paths", "growth", "weights_layer_1", "weights_layer_2")
"""Of every picture that may be made."""


def pictures(
    one_step: list[OneStep], paths: list[PathRow], growth: list[Growth], shown: PowerIteration
) -> list[Picture]:
    """Every figure of the check; ``shown`` is a small construction whose weights are drawn."""
    found = [_one_step(one_step)]
    if paths:
        caption = (
            "All steps so far: largest error over the starts (line with dots) and median bound (dashed). "
            "The piecewise norm errs in length only, by its chords, and that does not add up over the steps."
        )
        found.append(path_picture(paths, caption))
    if growth:
        found.append(_growth(growth))
    what = f"the construction for d <= {shown.max_dim}, all of them 0, 1 or -1"
    return found + weight_pictures(shown.plot_weights(), what)


def _one_step(rows: list[OneStep]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.2)
    names = list(dict.fromkeys(row.problem for row in rows))
    for color, _, chosen in coloured(rows, lambda row: row.form):
        places = [names.index(row.problem) for row in chosen]
        size = 9 - 2 * color  # lines that coincide show as rings
        curve(axes, places, (row.bound for row in chosen), INSTANCE, color, size)
        curve(axes, places, (row.error for row in chosen), MEASURED, color, size)
    name_marks(axes, named_groups(row.form for row in rows), (MEASURED, INSTANCE))
    finish(axes, "", "error / sum |T v v|, largest over entries", "One step against exact arithmetic")
    axes.set_xticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    caption = (
        "Rounding of one step: largest error of an entry over its natural scale, the sum of |T_ijm v_j v_m|, "
        "and the bound on it. An offset B adds rounding in proportion to B; pairs of heads need no bound on "
        "the data. A measured 0 is not drawn."
    )
    return picture("one_step", caption, figure)


def _growth(rows: list[Growth]) -> Picture:
    figure, (axes,) = panels(1, 6.4, 4.2)
    for color, row in enumerate(rows):
        steps = range(len(row.log10_length))
        label = f"{plain(row.problem)}, layers: {row.steps_taken} steps"
        axes.plot(steps, row.log10_length, "o-", color=f"C{color}", label=label, markersize=3)
        axes.fill_between(steps, row.smallest, row.largest, color=f"C{color}", alpha=0.15)
    axes.fill_between([], [], [], color="0.5", alpha=0.3, label="range over the starts")
    finish(axes, "step", "log10 |v|", "Growth of the plain iteration", scale="symlog")
    caption = (
        "log10 of the length of v under v <- T(I, v, v), median and range over the starts: it doubles every "
        "step, as |v| behaves like lambda^(2^L - 1). A run stops before a length leaves the dtype's range."
    )
    return picture("growth", caption, figure)
