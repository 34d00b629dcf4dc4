"""Figures of the causal part: heads ablated, agreement with attention, what arrives of patches."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from console.drawing import error_bars, legend, legend_below, number_heads, sheet, write_cells
from console.marks import GREY
from console.output import Picture
from console.phrases import Interval
from training.comparison.causal.measure import CausalResult, RegimeResult
from training.comparison.causal.patches import Patches
from training.comparison.causal.tables import more_than_control
from training.comparison.common.regimes import about_tasks

PICTURES = tuple(
    f"causal_{name}{suffix}" for suffix in ("_K3", "") for name in ("heads", "agreement", "patches")
)
"""Of the first K and of the largest K."""

COLUMNS = (
    ("mean", "replaced by its average"),
    ("zero", "replaced by 0"),
    ("rotated", "control: the average's change,\nturned at random"),
)
PATTERNS = (
    ("points", "points to points $c_{ij}$"),
    ("points, like distance", "points to points,\nat like distance"),
    ("E", "points to tokens (E layer) $w_{ik}$"),
    ("M", "tokens to points (M layer)\n$w_{ik}/\\Sigma_i w_{ik}$"),
)
LOWEST = 1e-3
"""Distances below it are drawn at it."""


def heads_figure(answer: CausalResult, regime: RegimeResult, name: str) -> Picture:
    """Heat maps of the distance moved, layer by head, both networks."""
    about = about_tasks(answer.d, regime.K, regime.N, regime.tasks, answer.seed)
    figure = sheet((11.0, 8.2), f"How far the estimate moves when a head is replaced. {about}", 12)
    panels = figure.subplots(2, len(COLUMNS), squeeze=False)
    top = max(
        float(np.array(net.moved[kind].mean).max()) for net in regime.networks.values() for kind, _ in COLUMNS
    )
    image = None
    for row, (network, found) in zip(panels, regime.networks.items(), strict=True):
        for panel, (kind, title) in zip(row, COLUMNS, strict=True):
            values = np.array(found.moved[kind].mean)
            image = panel.imshow(
                np.maximum(values, LOWEST),
                cmap="viridis",
                norm=LogNorm(LOWEST, max(top, 10 * LOWEST)),
                aspect="auto",
            )
            starred = more_than_control(found) & (kind == "mean")
            _write(panel, values, starred, top)
            if network == "learned":
                panel.set_title(title, fontsize=11)
            else:
                panel.set_xlabel("head", fontsize=11)
        row[0].set_ylabel(f"{network} network\nlayer", fontsize=11)
    if image is not None:
        figure.colorbar(
            image, ax=panels, location="bottom", shrink=0.6, aspect=45,
            label="squared distance between the estimates (error metric); *: further than by the control",
        )  # fmt: skip
    errors = ", ".join(f"{key} {net.error:.3g}" for key, net in regime.networks.items())
    caption = (
        f"{about}. The output of one head at a time is replaced by its average over "
        "the batch, by 0, or changed by as much as the average changes it but in a random direction "
        "(the control). Cells: mean distance, in the paper's error metric, between the estimate "
        "without and with the head. A star: the average moves it further than the control, 95 % "
        f"intervals over tasks apart. Errors against the truth without ablation: {errors}. A head "
        "matters to the task where the distance is not small against the learned network's error. "
        f"Distances below {LOWEST:g} share the darkest colour."
    )
    return Picture(name, caption, figure)


def _write(panel: Axes, values: np.ndarray, starred: np.ndarray, top: float) -> None:
    def text(layer: int, head: int, value: float) -> str:
        shown = f"{value:.2g}" if value >= LOWEST else f"<{LOWEST:g}"
        return shown + ("*" if starred[layer, head] else "")

    def dark(value: float) -> bool:
        return np.log(max(value, LOWEST) / LOWEST) <= 0.6 * np.log(max(top, 10 * LOWEST) / LOWEST)

    write_cells(panel, values, text, dark, 9)
    number_heads(panel, *values.shape)


def agreement_figure(answer: CausalResult, regime: RegimeResult, name: str) -> Picture:
    """Each head: how much it looks like a step, and how much it matters."""
    own = regime.networks["learned"].agreement
    shown = [(key, title) for key, title in PATTERNS if key in own]
    about = about_tasks(answer.d, regime.K, regime.N, regime.tasks, answer.seed)
    title = f"Do the heads that look like a step of EM matter?\n{about}"
    figure = sheet((4.0 * len(shown) + 0.6, 4.9), title, 12)
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for panel, (key, title) in zip(panels, shown, strict=True):
        for network, found in regime.networks.items():
            x = np.array(found.statistics[key])
            y = np.maximum(np.array(found.moved["mean"].mean), LOWEST)
            learned = network == "learned"
            for layer in range(len(x)):
                colour = f"C{layer % 10}"
                panel.plot(
                    x[layer], y[layer], linestyle="none", marker="o" if learned else "x", color=colour,
                    markersize=7 if learned else 5, alpha=1.0 if learned else 0.45,
                    label=f"layer {layer + 1}" if learned else None,
                )  # fmt: skip
        found, control = own[key], regime.networks["untrained"].agreement[key]
        panel.set_title(
            f"{title}\nlearned: rank corr. {found.rho:.2f}, p {found.p_within:.3g}\n"
            f"untrained: {control.rho:.2f}, p {control.p_within:.3g}",
            fontsize=10,
        )
        panel.set_yscale("log")
        panel.axvline(0, color="0.7", linewidth=0.8, label="no correlation")
        panel.set_xlabel("correlation with responsibilities", fontsize=10)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("distance moved by the head's\naverage (squared units)", fontsize=10)
    panels[0].plot([], [], linestyle="none", marker="x", color=GREY, label="untrained")
    legend(figure, panels[:1], None, 10)
    caption = (
        f"{about}. One mark a head; dots: learned, coloured by layer; crosses: untrained "
        "(the control). Across: the correlation of its log attention with responsibilities, mean over tasks. "
        "Up: how far the estimate moves when its output is replaced by its average. If heads that look like "
        "a step of EM were the ones that matter, the dots would rise to the right; p by permuting heads "
        "inside their layers, so that depth alone makes none small, not corrected for the number of patterns."
    )
    return Picture(name, caption, figure)


def patches_figure(answer: CausalResult, regime: RegimeResult, name: str) -> Picture:
    """What arrives of patches at tokens and points, what encoders explain, and the final error."""
    own, control = (regime.networks[key].patched for key in ("learned", "untrained"))
    about = about_tasks(answer.d, regime.K, regime.N, regime.tasks, answer.seed)
    figure = sheet((13.0, 11.0), f"A step's values written into the stream. {about}", 12)
    [[tokens, points], [explained, error]] = figure.subplots(2, 2)
    lines: list[Line] = [
        ([row.other for row in own.tokens], "learned: another task's estimate", "C3", "o-"),
        ([row.shift for row in own.tokens], "learned: own estimate shifted", "C0", "s-"),
        ([row.random for row in own.tokens], "control: random direction", "0.5", "^:"),
        ([row.other for row in control.tokens], "control: untrained, another task's", "C3", "x--"),
    ]
    _lines(tokens, lines)
    levels = ((own.em.other, "another task's", "C3"), (own.em.shift, "the own shifted", "C0"))
    for kept, label, colour in levels:
        style = {"color": colour, "linestyle": (0, (1, 3))}
        tokens.axhline(kept[1].value, linewidth=1.5, **style)
        tokens.plot([], [], **style, label=f"one exact EM step keeps of {label}")
    tokens.set_title("means and log weights at the component tokens", fontsize=11)
    lines = [
        ([row.other for row in own.points], "learned: another mixture's", "C3", "o-"),
        ([row.random for row in own.points], "control: random direction", "0.5", "^:"),
        ([row.other for row in control.points], "control: untrained", "C3", "x--"),
    ]
    _lines(points, lines)
    points.set_title("log responsibilities at the points, their place held", fontsize=11)
    for panel in (tokens, points):
        panel.axhline(1, color="0.3", linewidth=0.8, label="ignored (0), followed (1)")
        panel.set_ylabel("fraction of the shift that arrives\nin the final means", fontsize=10)
        legend_below(panel, 2)
        low, high = panel.get_ylim()
        panel.set_ylim(max(min(low, -0.25), -1.0), max(min(high, 1.8), 1.1))
        panel.set_yticks(np.arange(0.0, 1.01, 0.25))
    _explained(explained, own)
    _errors(error, own)
    for panel in (tokens, points, explained, error):
        panel.set_xlabel("patched after layer", fontsize=10)
        panel.set_xticks([row.layer for row in own.tokens])
        panel.set_xlim(0.7, len(own.tokens) + 0.3)
        panel.grid(alpha=0.3)
    caption = (
        f"{about}; encoders fitted on {regime.fitted} other tasks; bars 95 % intervals over "
        "tasks. Top left: values of another estimate in place of what the component tokens hold of means and "
        "weights; 1 = the network answers the patched means, 0 = it ignores them; dotted levels: what one "
        "exact EM step from the same values would keep. Behind the last layer only the read-out follows. Top "
        "right: responsibilities of another mixture in place of those that the points hold; 1 = the network "
        "answers the M step's means of them. Controls: the same norm of change in a random direction, and "
        "the untrained network. Bottom left: how much of the stream the encoders explain on held-out tasks, "
        "beside controls. Bottom right: change of the learned network's final error when the decoded "
        "estimate, or one exact EM step from it, is put in; below 0 would be better than no patch."
    )
    return Picture(name, caption, figure)


Line = tuple[list[Interval], str, str, str]
"""Values after layers 1, 2, ..., their label, colour and style."""


def _lines(panel: Axes, lines: list[Line]) -> None:
    for shift, (found, label, colour, style) in enumerate(lines):
        x = [layer + 0.06 * (shift - 1) for layer in range(1, len(found) + 1)]
        error_bars(panel, x, found, fmt=style, color=colour, label=label, capsize=2, markersize=6)
    panel.axhline(0, color="0.3", linewidth=0.8)


def _explained(panel: Axes, own: Patches) -> None:
    tokens, points = own.tokens, own.points
    for values, label, style in (
        ([row.explained for row in tokens], "tokens: means, log weights", "C0o-"),
        ([row.explained_chance for row in tokens], "control: values of other tasks", "C0o:"),
        ([row.explained for row in points], "points: responsibilities and place", "C2s-"),
        ([row.explained_place for row in points], "control: place alone", "C2s--"),
        ([row.explained_chance for row in points], "control: others' responsibilities, place", "C2^:"),
    ):
        panel.plot(range(1, len(values) + 1), values, style[2:], color=style[:2], label=label)
    panel.set_ylim(-0.1, 1.05)
    panel.set_yticks(np.arange(0.0, 1.01, 0.25))
    panel.set_ylabel("R$^2$ of the stream, held-out tasks", fontsize=10)
    panel.set_title("learned network: what the encoders explain", fontsize=11)
    legend_below(panel, 2)


def _errors(panel: Axes, own: Patches) -> None:
    rows = own.tokens
    lines: list[Line] = [
        ([row.error.step for row in rows], "one EM step from the decoded estimate", "C3", "o-"),
        ([row.error.decoded for row in rows], "the decoded estimate", "C0", "s-"),
        ([row.error.random for row in rows], "control: the EM step's change, random direction", "0.5", "^:"),
    ]
    _lines(panel, lines)
    panel.set_ylabel("change of the final error\n(no patch: 0)", fontsize=10)
    panel.set_title(f"learned network: final error, {own.error.value:.3g} without a patch", fontsize=11)
    legend_below(panel, 2)
