"""The presets that are shipped, and what their first lines say. Imports nothing that takes long."""

from __future__ import annotations

import re
from pathlib import Path

PRESETS = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """In the order of the alphabet."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset_lines() -> list[tuple[str, str]]:
    """Each name with the first sentence of the comment that its file begins with."""
    return [(name, _first_sentence(PRESETS / f"{name}.toml")) for name in preset_names()]


def _first_sentence(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.removeprefix("#").strip() for line in lines[:end])
    return re.split(r"(?<=[.?!]) ", comment)[0]
