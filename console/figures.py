"""What all figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from console.streams import printable


def on_log_axis(values: Iterable[float | None]) -> list[float]:
    """The values with NaN in place of what a logarithmic axis has no place for (0, a hole): not drawn."""
    return [value if value is not None and value > 0 else math.nan for value in values]


def plain(name: str) -> str:
    """A name as matplotlib shows it: no formula between dollars, not hidden in legends, characters only."""
    shown = printable(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
