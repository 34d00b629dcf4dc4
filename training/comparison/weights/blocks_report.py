"""The tables and heat maps of a comparison block by block, from its JSON values alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from console.drawing import sheet
from console.output import Picture, significant
from console.sections import Table, table_of
from training.comparison.weights.block_verdicts import BlockLayer, BlocksResult, Form, Matrix

MARKS = {"has": "\N{CHECK MARK}", "lacks": "\N{MULTIPLICATION X}", "in addition": "+"}
COLOURS = {"has": "#1a7f37", "lacks": "#c1121f", "in addition": "#5a189a"}
DECADES = 4
"""The colour scale of a row of panels reaches so many powers of ten down at least, and to every block of the
theorem that is not smaller than the theorem's largest by more."""
MOST_ROWS = 12
"""Blocks beyond the theorem listed in the table, the largest first."""


def render_blocks(
    found: BlocksResult, name: str = "blocks", about: str = ""
) -> tuple[list[Table], list[Picture]]:
    """Tables and one picture a layer, named `{name}_1`, `{name}_2`, ...

    Args:
        found: what blocks.compare_blocks gave, fresh or back from disk.
        name: of the pictures. about: which network, how it was trained, which tasks; goes into captions.
    """
    tables = [_counts(found, about), _theorem(found, about)]
    beyond = _beyond(found, about)
    if beyond is not None:
        tables.append(beyond)
    pictures = [_picture(found, layer, f"{name}_{layer.layer}", about) for layer in found.layers]
    return tables, pictures


def _sizes(form: Form) -> tuple[dict[str, Matrix], str]:
    """The sizes that are shown, by network, and what they are."""
    if form.numbers.size is None:
        what = "Frobenius norm" if form.kind != "MLP" else "norm of W_1, W_2 over units"
        return form.numbers.norm, what
    if form.kind == "A":
        return form.numbers.size, "std of the score over keys, nats"
    return form.numbers.size, "rms over tokens of what is written"


def _entries(found: BlocksResult) -> Iterator[tuple[int, Form, int, int, str]]:
    """Layer, form, row, column, and the label `a, b` or `r to w` of each block."""
    names = found.blocks
    for layer in found.layers:
        for form in layer.forms:
            for i, first in enumerate(names):
                for j, second in enumerate(names):
                    label = f"<{first}, {second}>" if form.kind == "A" else f"{first} \u2192 {second}"
                    yield layer.layer, form, i, j, label


def _tokens(found: BlocksResult) -> str:
    if found.tokens is None:
        return "Sizes are norms of weights: no tokens were given."
    return f"Sizes by data: {max(found.tokens):,} tokens of the constructed network a layer."


def _counts(found: BlocksResult, about: str) -> Table:
    limits = found.thresholds
    note = (
        f"{about} A block of the theorem is there if the network's block, regressed on it, has a coefficient "
        f"of at least {limits.half:g} and a cosine of at least {limits.half:g}. A block beyond the theorem "
        f"counts from {limits.nats:g} nats of score (by norms: {limits.share:.0%} of the theorem's largest), "
        f"elsewhere from {limits.share:.0%} of what the theorem writes there. {_tokens(found)} Distance: "
        "modulo the symmetries, relative; about 1.3 to 1.4 for unrelated weights."
    )
    return table_of(
        "Blocks of the theorem, counted",
        found.counts.items(),
        [
            ("network", lambda row: row[0]),
            ("has", lambda row: f"{row[1].has} of {row[1].theorem}"),
            ("lacks", lambda row: f"{row[1].lacks} of {row[1].theorem}"),
            ("in addition", lambda row: f"{row[1].in_addition} of {row[1].beyond}"),
            ("distance", lambda row: significant(found.distances[row[0]].distance)),
        ],
        note.strip(),
    )


def _theorem(found: BlocksResult, about: str) -> Table:
    header = ["layer, part", "block", "constructed"]
    for network in found.counts:
        header += [network, "coefficient", "cosine", "verdict"]
    rows = []
    for layer, form, i, j, label in _entries(found):
        sizes, numbers = _sizes(form)[0], form.numbers
        if not numbers.verdict or next(iter(numbers.verdict.values()))[i][j] not in ("has", "lacks"):
            continue
        row = [f"{layer}, {form.name}", label, significant(sizes["constructed"][i][j])]
        for network in found.counts:
            shown = (sizes[network], numbers.coefficient[network], numbers.cosine[network])
            row += [*(significant(matrix[i][j]) for matrix in shown), numbers.verdict[network][i][j]]
        rows.append(row)
    note = (
        f"{about} A: score of a head, <query block, key block>, in nats. V: what a head writes, MLP: what "
        f"the MLP writes, read \u2192 write. {_tokens(found)} A block with one or two entries has a large "
        "cosine by chance: compare with the control."
    )
    return Table("Each block of the theorem", header, rows, note.strip())


def _beyond(found: BlocksResult, about: str) -> Table | None:
    """The largest blocks that the theorem has not, or None when there are none."""
    rows = []
    for layer, form, i, j, label in _entries(found):
        verdict = form.numbers.verdict.get("learned")
        if verdict and verdict[i][j] == "in addition":
            sizes, _ = _sizes(form)
            largest = max(max(row) for row in sizes["constructed"])
            share = sizes["learned"][i][j] / largest if largest else math.inf
            own = {network: sizes[network][i][j] for network in found.counts}
            rows.append((f"{layer}, {form.name}", label, own, share))
    if not rows:
        return None
    shown = sorted(rows, key=lambda row: -row[3])[:MOST_ROWS]
    return table_of(
        "Blocks beyond the theorem",
        shown,
        [
            ("layer, part", lambda row: row[0]),
            ("block", lambda row: row[1]),
            *((network, lambda row, name=network: significant(row[2][name])) for network in found.counts),
            (
                "share of the theorem's largest there",
                lambda row: significant(row[3]) if row[3] < math.inf else "the theorem has none",
            ),
        ],
        f"{about} The {len(shown)} largest of {len(rows)}.".strip(),
    )


def _picture(found: BlocksResult, layer: BlockLayer, name: str, about: str) -> Picture:
    networks = ["constructed", *found.counts]
    forms, blocks = layer.forms, found.blocks
    marks = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())
    title = "\n".join([*wrap(f"Layer {layer.layer}: blocks by name. {about}", 120), marks])
    figure = sheet((3.9 * len(networks) + 1.2, 3.7 * len(forms) + 1.0), title)
    grid = figure.subplots(len(forms), len(networks), squeeze=False)
    for panels, form in zip(grid, forms, strict=True):
        shown, what = _sizes(form)
        sizes = [x for n in networks for row in shown[n] for x in row if x > 0]
        top = max(sizes, default=1.0)
        own = [x for row in shown["constructed"] for x in row if x > 0]
        largest = max(own, default=top)
        norm = LogNorm(min([top / 10**DECADES, *(x / 2 for x in own if x > largest / 10**DECADES)]), top)
        for panel, network in zip(panels, networks, strict=True):
            _heat_map(panel, shown[network], form.numbers.verdict.get(network), norm, blocks)
            partner = (form.partner or {}).get(network)
            head = f" (its head {partner})" if partner else ""
            panel.set_title(f"{network}: {form.name}{head}", fontsize=9)
            first, second = ("query block", "key block") if form.kind == "A" else ("read", "written")
            panel.set_ylabel(first, fontsize=9)
            panel.set_xlabel(second, fontsize=9)
        bar = figure.colorbar(ScalarMappable(norm, "Greys"), ax=list(panels), shrink=0.9)
        bar.set_label(what, fontsize=8)
    caption = (
        f"{about} Layer {layer.layer}: a row of panels for each part of it, a column for each network. "
        "Shade: size of every block, named on the axes, one logarithmic scale a row of panels (white: 0 or "
        "below the scale). Green check: the network has this block of the theorem; red cross: it lacks it; "
        "violet plus: a block that the theorem has not. Learning brought what tells the learned network from "
        f"the control. {_tokens(found)}"
    )
    return Picture(name, caption.strip(), figure)


def _heat_map(
    panel: Axes, values: Matrix, verdicts: list[list[str]] | None, norm: LogNorm, blocks: list[str]
) -> None:
    shown = [[x if x > 0 else float("nan") for x in row] for row in values]
    panel.imshow(shown, norm=norm, cmap="Greys", aspect="auto", interpolation="nearest")
    ticks = range(len(blocks))
    panel.set_xticks(ticks, blocks, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    panel.set_yticks(ticks, blocks, fontsize=8)
    panel.set_xticks([i - 0.5 for i in ticks][1:], minor=True)
    panel.set_yticks([i - 0.5 for i in ticks][1:], minor=True)
    panel.grid(which="minor", color="0.9", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    for i, row in enumerate(verdicts or []):
        for j, verdict in enumerate(row):
            if verdict in MARKS:
                mark = panel.text(j, i, MARKS[verdict], ha="center", va="center", fontsize=10, weight="bold")
                mark.set_color(COLOURS[verdict])
                mark.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85})
