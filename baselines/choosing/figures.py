"""The criterion against the number of components, a curve a family, always in the same colour and marker."""

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from baselines.families.names import FAMILIES, family_of

if TYPE_CHECKING:
    from baselines.choosing.selection import Selection

# Volume and shape give the colour, orientation the line; each family has a marker of its own.
COLOURS = {
    "EI": "#0072B2",
    "VI": "#56B4E9",
    "EE": "#009E73",
    "VE": "#E69F00",
    "EV": "#CC79A7",
    "VV": "#D55E00",
}
MOST_CURVES = 7  # with the ring, eight lines of a legend
LINES = {"I": "--", "E": ":", "V": "-"}
MARKERS = dict(zip((family.name for family in FAMILIES), "+osDv^<>pPX*h", strict=True))


def style(covariance_type: str) -> dict[str, Any]:
    """Colour, line and marker of a family, the same in every figure."""
    family = family_of(covariance_type)
    colour = "black" if family.mclust is None else COLOURS[family.mclust[:2]]
    line = "-" if family.mclust is None else LINES[family.mclust[2]]
    return {"color": colour, "linestyle": line, "marker": MARKERS[family.name]}


def picture(selection: "Selection", criterion: str) -> Figure:
    """The criterion of the candidates without a problem; the legend stands beside the axes, best first."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    curves: dict[str, list[tuple[int, float]]] = {}
    for candidate in selection.candidates:
        value = candidate.value(criterion)
        if not candidate.problem and math.isfinite(value):
            curves.setdefault(candidate.covariance_type, []).append((candidate.n_components, value))
    order = sorted(curves.items(), key=lambda item: min(value for _, value in item[1]))
    if len(order) > MOST_CURVES:
        axes.set_title(f"the {MOST_CURVES} best of {len(order)} families", loc="left", fontsize="medium")
    for name, curve in order[:MOST_CURVES]:
        K, values = zip(*sorted(curve), strict=True)
        axes.plot(K, values, label=family_of(name).label, markersize=5, linewidth=1.2, **style(name))
    best = selection.best
    if math.isfinite(best.value(criterion)):
        axes.plot(
            [best.n_components],
            [best.value(criterion)],
            "o",
            markersize=13,
            fillstyle="none",
            color="black",
            label=f"chosen by {selection.criterion.upper()}",
        )
    axes.set_xlabel("number of components K")
    axes.set_ylabel(f"{criterion.upper()} (lower is better)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", frameon=False)
    return figure
