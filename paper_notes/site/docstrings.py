"""This project's docstrings as reStructuredText.

They are plain text: paragraphs, formulas as indented blocks, lists in two columns, sections as "Args:" with
entries "name: text". Indented blocks stay as they are written, in fixed width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
CODE = re.compile(r"(:[a-z]+:`~?[^`]+`|``.+?``|`[^`]+`)")
WIDE = "  "
"""Between two columns."""
ENTRY = re.compile(r"([\w*][\w*, .]*?): +(.*)", re.DOTALL)


def as_rst(lines: list[str]) -> list[str]:
    """The docstring's lines, indentation taken off, as lines of reStructuredText."""
    found: list[str] = []
    section = False
    for block in _blocks(lines):
        head = block[0].removesuffix(":")
        if head in SECTIONS and block[0].endswith(":"):
            section = True
            found += [f"**{head}**", ""]
            block = block[1:]
        if not block:
            continue
        if section and block[0].startswith(" "):
            found += _entries(block)
            continue
        section = False
        if block[0].startswith(" "):
            found += _literal(block)
        elif any(WIDE in line.strip() for line in block):
            found += _columns(block)
        else:
            found += [*map(escaped, block), ""]
    return found


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without an empty one between them."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def _literal(block: list[str]) -> list[str]:
    return [".. code-block:: text", "", *("    " + line for line in block), ""]


def _columns(block: list[str]) -> list[str]:
    """Names in one column and what they are in the next: a bullet each; anything else stays as it is."""
    items: list[list[str]] = []
    for line in block:
        name, gap, text = line.partition(WIDE)
        if line.startswith(" ") and items:
            items[-1][1] += " " + line.strip()
        elif gap and not line.startswith(" "):
            items.append([name, text.strip()])
        else:
            return _literal(block)
    return [*(f"* ``{name}``: {escaped(text)}" for name, text in items), ""]


def _entries(block: list[str]) -> list[str]:
    """A bullet for each line that is indented least, with what is indented below it."""
    least = min(len(line) - len(line.lstrip()) for line in block)
    items: list[str] = []
    for line in block:
        text = line[least:]
        if items and text.startswith(" "):
            items[-1] += " " + text.strip()
        else:
            items.append(text.strip())
    found = []
    for item in items:
        named = ENTRY.fullmatch(item)
        if named:
            names = ", ".join(f"``{name.strip()}``" for name in named[1].split(","))
            found.append(f"* {names}: {escaped(named[2])}")
        else:
            found.append(f"* {escaped(item)}")
    return [*found, ""]


def escaped(text: str) -> str:
    """No mark-up but code: roles and single back-ticks become code too."""
    parts = CODE.split(text)
    return "".join(_code(part) if place % 2 else _plain(part) for place, part in enumerate(parts))


def _code(part: str) -> str:
    return f"``{part[part.index('`') :].strip('`').removeprefix('~')}``"


def _plain(part: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", part)
