"""The page of a scene: template, style, scripts and data in one file that needs no other and no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from console.origin import origin
from console.output import finite
from console.typed_json import to_plain
from verify.player.scene import Scene

PAGE = "player.html"
FOLDER = Path(__file__).parent
SCRIPTS = ("data", "draw", "chart", "bars", "table", "formulas", "controls")
"""In the order in which they are read; the picture of the scene comes next, then ``main``."""


def player_page(scene: Scene[Any], command: str) -> str:
    """The page, made by ``command``."""
    names = (*SCRIPTS, scene.kind, "main")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((FOLDER / "player.html").read_text(encoding="utf-8")).render(
        scene=scene,
        style=_file("player.css"),
        scripts=[_file(f"{name}.js") for name in names],
        data=as_script(finite(to_plain(scene))),
        origin=origin(command),
    )


def as_script(content: Any) -> str:
    """JSON that may stand in a script element: no text of it can end the element or begin a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
