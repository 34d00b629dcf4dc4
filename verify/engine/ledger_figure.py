"""The picture of the ledger: how near each claim comes to its limit."""

from __future__ import annotations

import math
from collections import Counter
from textwrap import shorten

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from console.drawing import legend
from console.figures import plain
from console.output import Picture
from verify.engine.record import Record, margin_text

NAMES = ("ledger",)
COLOURS = {"at most": "C0", "at least": "C1"}


def margins(records: list[Record]) -> Picture:
    """A bar from 1 to each margin, to the left and red where the claim failed."""
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(records)), layout="constrained")
    axes = figure.subplots()
    drawn = [r.margin if 0 < r.margin < math.inf else 1.0 for r in records]
    colours = [COLOURS[r.limit] if r.passed else "C3" for r in records]
    places = list(range(len(records)))
    axes.barh(places, [m - 1 for m in drawn], left=1, color=colours)
    for place, record, end in zip(places, records, drawn, strict=True):
        text = margin_text(record.margin) if record.passed else f"FAILED, {margin_text(record.margin)}"
        axes.text(max(end, 1), place, f"  {text}", va="center", fontsize=7)
    axes.set_yticks(places, _labels(records))
    axes.margins(y=0.005)
    axes.axvline(1, color="black", linewidth=1, label="the limit")
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, 0.7 * min(drawn, default=1)), 30 * max(10.0, *drawn))
    axes.invert_yaxis()
    axes.set_xlabel(
        "margin, larger is safer: bound / observed of an 'at most', observed / bound of an 'at least'",
        fontsize=7,
    )
    axes.tick_params(axis="y", labelsize=7)
    meanings = COLOURS | {"failed": "C3"}
    for name, colour in meanings.items():
        axes.add_patch(Rectangle((1, 0), 0, 0, color=colour, label=name))
    legend(figure, [axes], fontsize=8)
    caption = (
        "How near each claim comes to its limit, at the nearest: how many times further the limit could be. "
        "Left of the line a claim is broken. Exact: nothing was off. 1, attained: the limit is reached and "
        "not passed, as by a bound that is sharp. Failed claims are red; one whose control failed may have "
        "a margin above 1."
    )
    return Picture(NAMES[0], caption, figure)


def _labels(records: list[Record]) -> list[str]:
    """The claims, shortened; with the dtype where several say the same."""
    count = Counter(record.claim for record in records)
    return [
        plain(shorten(r.claim, 90, placeholder=" ...")) + (f", {r.dtype}" if count[r.claim] > 1 else "")
        for r in records
    ]
