"""Tables of a page from tables that were printed as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

RULE = re.compile(r"-+(  -+)*")


@dataclass(frozen=True)
class TextTable:
    """The lines before a table, its header and its rows; no header where the text holds no table."""

    before: list[str]
    header: list[str]
    rows: list[list[str]]


def read_text_table(text: str) -> TextTable:
    """Of ``constructions.language.tables``: a rule of dashes below the header shows the columns."""
    lines = text.split("\n")
    rule = next((place for place, line in enumerate(lines) if place and RULE.fullmatch(line)), None)
    if rule is None:
        return TextTable(lines, [], [])
    ends = [found.start() for found in re.finditer("-+", lines[rule])]
    spans = list(zip(ends, [*(end - 2 for end in ends[1:]), None], strict=True))

    def cells(line: str) -> list[str]:
        return [line[start:end].strip() for start, end in spans]

    return TextTable(lines[: rule - 1], cells(lines[rule - 1]), [cells(line) for line in lines[rule + 1 :]])
