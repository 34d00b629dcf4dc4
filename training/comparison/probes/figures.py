"""The pictures of the part "probes"."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from console.drawing import band, error_bars, legend, legend_below, sheet, write_cells
from console.marks import CONSTRUCTION, NETWORK, UNTRAINED
from console.output import Picture
from console.phrases import Interval
from training.comparison.probes.measure import AnswerRow, HandBuiltRow, LensRow, MapRow, ProbesResult
from training.comparison.probes.steps import StepTest
from training.comparison.probes.targets import LINE, OWN_START
from training.comparison.probes.trend import Trend

NETWORKS = ("learned", "untrained")
BEST = "best iterate of a layer that explains half or more"
TARGETS = {
    "log-responsibilities": "log-responsibilities of a point (at its token)",
    "centres": "posterior mean of a point's centre, sum_k r_k mu_k (at its token)",
    "means": "means mu_k (at component token k)",
}
NAMES = {"log-responsibilities": "probe_responsibilities", "centres": "probe_centres", "means": "probe_means"}
PICTURES = (*NAMES.values(), "probe_growth", "probe_lens")
BUILT_PATHS = ("its own path", "EM from another start")
STYLE = {
    "learned": (NETWORK.colour, NETWORK.marker, "-"),
    "untrained": (UNTRAINED.colour, UNTRAINED.marker, "--"),
    "hand-built": (CONSTRUCTION.colour, CONSTRUCTION.marker, "-"),
}


def map_of(results: ProbesResult, K: int, network: str, target: str, start: str = "") -> MapRow | None:
    """The map of one network, target and start (any where none is named)."""
    rows = (r for r in results.maps if (r.K, r.network, r.target) == (K, network, target))
    return next((row for row in rows if start in ("", row.start)), None)


def answer_of(results: ProbesResult, K: int, network: str, target: str) -> AnswerRow | None:
    """That of the truth and the output."""
    rows = results.answers
    return next((r for r in rows if (r.K, r.network, r.target) == (K, network, target)), None)


def lens_of(results: ProbesResult, K: int, network: str) -> LensRow | None:
    """The lenses of one network."""
    return next((row for row in results.lenses if (row.K, row.network) == (K, network)), None)


def built_of(results: ProbesResult, target: str, path: str) -> HandBuiltRow | None:
    """The map of the hand-built stream for one path."""
    return next((row for row in results.handbuilt.maps if (row.target, row.path) == (target, path)), None)


def starts_of(results: ProbesResult) -> list[str]:
    """The starts of EM that were used, in their order; without the straight line, which is no EM."""
    return list(dict.fromkeys(row.start for row in results.maps if row.start != LINE))


def pictures(results: ProbesResult) -> list[Picture]:
    """Every picture that these results allow."""
    K = results.settings.components[-1]
    targets = [t for t in TARGETS if map_of(results, K, "learned", t)]
    found = [_maps(results, K, target) for target in targets]
    found.append(_growth(results, K, targets))
    if results.lenses:
        found.append(_lens(results, K))
    return found


def about(results: ProbesResult) -> str:
    """How the numbers were taken, for captions."""
    s = results.settings
    return (
        f"{s.tasks} tasks of the paper's distribution, d = {s.d}, N = {s.n_samples}; a task is for fitting, "
        f"for choosing the penalty or for the test; {s.seeds} seeds of split and shuffle, seed {s.seed}."
    )


def _maps(results: ProbesResult, K: int, target: str) -> Picture:
    starts = starts_of(results)
    built = [built_of(results, target, path) for path in BUILT_PATHS]
    columns = len(starts) + (built[0] is not None)
    title = f"R² of linear probes for EM's iterates: {TARGETS[target]}, K = {K}"
    figure = sheet((3.0 * columns + 1.0, 6.8), title, 12)
    panels = figure.subplots(2, columns, squeeze=False)
    image = None
    for row, network in enumerate(NETWORKS):
        answers = answer_of(results, K, network, target)
        for place, start in enumerate(starts):
            found = map_of(results, K, network, target, start)
            if found is None or answers is None:
                continue
            last = results.settings.iterations
            extra = [[*line, *more] for line, more in zip(found.r2, answers.r2, strict=True)]
            labels = [*(str(t) for t in range(last + 1)), "end", "truth", "output"]
            image = _heat(panels[row][place], extra, labels, found.trend.best)
            title = f"{start}, layer 1" if start == OWN_START else start
            panels[row][place].set_title(f"{network}\nEM from {title}", fontsize=10)
    for row, found in enumerate(built):
        if found is None:
            continue
        labels = [str(t) for t in range(len(found.r2[0]))]
        image = _heat(panels[row][-1], found.r2, labels, found.trend.best)
        what = "its own path" if row == 0 else "control: another path"
        panels[row][-1].set_title(
            f"hand-built EM (d = 2, K = 3)\n{what}", fontsize=10, color=CONSTRUCTION.colour
        )
    for line in panels:
        line[0].set_ylabel("after layer (0: before the first)", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("EM iterate", fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=panels, label="held-out R²", shrink=0.7, extend="min")
    legend(figure, panels.flat, 2)
    caption = (
        f"{about(results)} Brightness: share of the variance of the target (columns: EM after 0, 1, "
        "... steps, where it ends, the truth, the network's own output) that a linear probe of the "
        "stream after a layer (rows) explains on unseen tasks. Circle: the best iterate of a layer "
        "that explains half or more. An unrolled EM makes the circles climb, as in the hand-built "
        "network (right, top): the probe finds it where it is. White: a target that is the same for "
        "every task. Controls: the untrained network below; below the hand-built map the same stream "
        "probed for EM from another start. What row 0 shows is known from the input alone."
    )
    return Picture(NAMES[target], caption, figure)


def _heat(panel: Axes, shown: list[list[float]], labels: list[str], best: list[float]) -> AxesImage:
    """A heat map of R^2, layers upwards, with the best iterate of every layer from 1 on."""
    image = panel.imshow(shown, origin="lower", aspect="auto", cmap="viridis", norm=Normalize(0, 1))
    panel.set_xticks(range(len(labels)), labels, rotation=90 if "end" in labels else 0, fontsize=8)
    panel.set_yticks(range(len(shown)), [str(layer) for layer in range(len(shown))], fontsize=8)
    places = [(t, layer) for layer, t in enumerate(best, 1) if not math.isnan(t)]
    style = {"markerfacecolor": "white", "markeredgecolor": "black", "markersize": 7}
    panel.plot([t for t, _ in places], [layer for _, layer in places], "o", **style, label=BEST)
    if "end" in labels:
        panel.axvline(labels.index("end") - 0.5, color="white", linewidth=2)
        panel.axvline(labels.index("truth") - 0.5, color="white", linewidth=2)
    return image


def _growth(results: ProbesResult, K: int, targets: Sequence[str]) -> Picture:
    title = f"Does the best-matching EM iterate grow with the layer? K = {K}"
    figure = sheet((4.2 * len(targets), 7.6), title, 12)
    panels = figure.subplots(2, len(targets), squeeze=False)
    first, start = starts_of(results)[0], starts_of(results)[-1]
    for column, target in enumerate(targets):
        top, bottom = panels[0][column], panels[1][column]
        for network in NETWORKS:
            one, other = (map_of(results, K, network, target, name) for name in (start, first))
            if one is None or other is None:
                continue
            _best_line(top, one.trend, network)
            colour, marker, line = STYLE[network]
            parts = zip(other.r2, other.low, other.high, strict=True)
            end = [Interval(*(columns[-1] for columns in rows)) for rows in parts]
            band(bottom, end, colour, 0.2, marker=marker, linestyle=line, label=network)
            chance = [columns[-1] for columns in other.shuffled]
            bottom.plot(chance, color=colour, linestyle=":", label=f"{network}, shuffled")
        built = built_of(results, target, BUILT_PATHS[0])
        if built is not None:
            _best_line(top, built.trend, "hand-built")
        top.set_title(f"{target}\nEM from {start}", fontsize=10)
        top.set_ylabel("best-matching EM iterate")
        bottom.set_ylabel(f"held-out R² of the end of EM\nfrom {first}")
        bottom.set_ylim(-0.1, 1.05)
        top.set_ylim(-0.5, results.settings.iterations + 0.5)
        for panel in (top, bottom):
            _layer_axis(panel)
    legend(figure, panels.flat, 5)
    s = results.settings
    caption = (
        f"{about(results)} Top: the EM iterate that the stream after a layer explains best, bars 95 % "
        f"intervals over {s.resamples} resamples of the tasks; a layer without a point explains less than "
        f"half of every iterate. EM starts from {_start_name(start)}; the hand-built EM (d = 2, K = 3, "
        f"{results.handbuilt.tasks} tasks) from its given start. Bottom: how much of the end of EM from "
        f"{first} the stream explains, band the same interval, dotted the same probe on shuffled targets. "
        "Layer 0 is what the input alone tells. Control: the untrained network."
    )
    return Picture("probe_growth", caption, figure)


def _layer_axis(panel: Axes) -> None:
    """Whole layers, at least one of them in sight."""
    left, right = panel.get_xlim()
    panel.set_xlim(min(left, 0.8), max(right, 1.2))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("after layer")
    panel.grid(alpha=0.3)


def _start_name(start: str) -> str:
    return "the network's own estimate after layer 1 (tuned lens)" if start == OWN_START else start


def _best_line(panel: Axes, trend: Trend, name: str) -> None:
    colour, marker, line = STYLE[name]
    rows = zip(trend.best, trend.best_low, trend.best_high, strict=True)
    there = [(layer, *row) for layer, row in enumerate(rows, 1) if not math.isnan(row[0])]
    shift = {"learned": 0.0, "untrained": 0.12, "hand-built": -0.12}[name]
    style = {"color": colour, "marker": marker, "linestyle": line, "capsize": 3}
    style["label"] = name if name != "hand-built" else "hand-built EM"
    places, found = [layer + shift for layer, *_ in there], [Interval(*row) for _, *row in there]
    error_bars(panel, places, found, **style)


def _lens(results: ProbesResult, K: int) -> Picture:
    figure = sheet((14, 5.9), f"The estimate that each layer holds, K = {K}", 12)
    errors, steps, path = figure.subplots(1, 3)
    for network in NETWORKS:
        found = lens_of(results, K, network)
        if found is None:
            continue
        colour, marker, _ = STYLE[network]
        for values, line, label in (
            (found.logit_error, "--", "logit lens"),
            (found.tuned_error, "-", "tuned lens"),
        ):
            errors.plot(values, color=colour, marker=marker, linestyle=line, label=f"{network}, {label}")
    learned = lens_of(results, K, "learned")
    if learned is not None:
        errors.axhline(learned.oracle_error, color="black", linestyle=":", label="EM from the truth")
        _step_lines(steps, learned.steps)
        shown = learned.to_path
        image = path.imshow(shown, origin="lower", aspect="auto", cmap="magma_r")
        most = 0.6 * max(map(max, shown))
        write_cells(path, shown, lambda row, column, value: f"{value:.1f}", lambda value: value > most, 8)
        last = results.settings.iterations
        path.set_yticks(range(len(shown)))
        path.set_xticks(range(last + 2), [*(str(t) for t in range(last + 1)), "end"])
        figure.colorbar(image, ax=path, label="mean error between the two estimates")
    errors.set_yscale("log")
    _layer_axis(errors)
    errors.set_ylabel("mean total error against the truth")
    errors.set_title("Error of the layer's estimate", fontsize=10)
    legend_below(errors, 2)
    path.set_xlabel("EM steps from the estimate after layer 1")
    path.set_ylabel("tuned lens after layer (learned)")
    path.set_title("Distance of the layer's estimate to EM's iterates", fontsize=10)
    s = results.settings
    caption = (
        f"{about(results)} Left: error of the estimate read from the component tokens by the network's own "
        "final norm and head (logit lens) or by an affine map per layer to the network's output, fitted on "
        f"{s.lens_tasks} other tasks (tuned lens); dotted: EM from the truth. Middle: distance between the "
        "tuned lens after a layer and t EM steps from the one before it, divided by that of no step; the "
        "lowest point says how many EM steps the layer is worth, dashed the same with the points of another "
        f"task ({s.step_tasks} tasks). Right: distance between the tuned lens and the iterates of EM from "
        "the network's estimate after layer 1; an unrolled EM would be light along a rising line."
    )
    return Picture("probe_lens", caption, figure)


def _step_lines(panel: Axes, steps: StepTest) -> None:
    for layer, (own, other) in enumerate(zip(steps.distance, steps.control, strict=True)):
        if not own[0] > 0:
            continue  # the layer moves nothing: no distance to compare with
        colour = f"C{layer % 10}"
        for values, line in ((own, "-"), (other, "--")):
            relative = [v / values[0] for v in values]
            label = f"layer {layer} to {layer + 1}" if line == "-" else "_"
            marker = "." if line == "-" else ""
            panel.plot(relative, color=colour, linestyle=line, marker=marker, label=label)
    panel.plot([], [], color="0.35", linestyle="--", label="another task's points")
    panel.axhline(1, color="black", linewidth=0.8, label="no step")
    panel.set_yscale("log")
    panel.set_xlabel("EM steps between the layers")
    panel.set_ylabel("distance to the next layer's estimate,\nrelative to no step")
    panel.set_title("How many EM steps is a layer worth? (learned)", fontsize=10)
    legend_below(panel, 2)
    panel.grid(alpha=0.3)
