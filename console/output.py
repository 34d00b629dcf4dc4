"""Writing results: JSON that any reader accepts, figures, one page; never over somebody else's files."""

from __future__ import annotations

import base64
import decimal
import functools
import io
import json
import math
import os
import platform
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jinja2

from console.errors import BadInputError
from console.folder import RESULTS, plain, refuse_another_run
from console.origin import PACKAGE, origin
from console.streams import printable
from console.text_tables import read_text_table
from console.unbroken import unbroken

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "index.html"


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with the name of its file, and what a reader should see in it."""

    name: str
    caption: str
    figure: Figure


def check_out(
    out: Path, command: str, pictures: Sequence[str], run: Mapping[str, Any], pages: Sequence[str] = ()
) -> None:
    """Refuse a folder that cannot be written, holds others' files of our names, or holds another run.

    A folder is ours when its ``results.json`` was written by the same command, with the same settings. It is
    tried out and left as it was: what writes into it makes it, so that a stopped command leaves no empty one.

    Args:
        out: the folder. command: who writes. pictures: names of the figures that may be written.
        run: what decides the figures, as JSON values (console.folder).
        pages: names of the pages that may be written beside ``index.html``.

    Raises:
        BadInputError: says which.
    """
    made = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as problem:
        raise BadInputError(
            f"--out {out}: cannot be written ({problem.strerror}); name a writable folder"
        ) from None
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
    ours = _written_by(out / RESULTS, command)
    for name in (RESULTS, PAGE, *pages, *(f"{picture}.png" for picture in pictures)):
        path = out / name
        if path.is_dir() or (path.exists() and not ours):
            raise BadInputError(
                f"--out {out}: holds {name}, which {command} did not write; name another folder"
            )
    refuse_another_run(out, command, run)


def _written_by(path: Path, command: str) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("command") == command
    except (OSError, ValueError, AttributeError):
        return False


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    names = ("torch", "numpy", "scipy", "scikit-learn", PACKAGE)
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def finite(value: Any) -> Any:
    """The same structure as any reader of JSON takes it: inf and NaN as None, text as characters."""
    if isinstance(value, Mapping):
        return {printable(str(key)): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value


@functools.cache
def _templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder and of this one; each is compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["sig"] = significant
    environment.filters["interval"] = interval
    environment.globals["told_apart"] = told_apart
    environment.globals["read_text_table"] = read_text_table
    return environment


def write_results(
    out: Path,
    command: str,
    run: Mapping[str, Any],
    results: dict[str, Any],
    pictures: list[Picture],
    names: Sequence[str],
    template: Path,
    context: dict[str, Any],
    pages: Mapping[str, str | None] = MappingProxyType({}),
) -> None:
    """``results.json``, one PNG a picture, and ``index.html`` with everything inside it.

    ``run`` is what :func:`check_out` was given. Each file is complete before it takes its name, so that a
    stop never leaves half of one. ``names`` are those of all pictures that the command may make: ones that it
    did not make this time, it removes. ``template`` may extend ``page.html`` of this folder, which says when,
    by which version and commit and by which command the page was made. ``pages`` are further pages by the
    names of their files, None of one that was not made this time: it is removed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = _with_origin(command, run, results)
    shown = []
    files: dict[str, bytes] = {}
    for picture in pictures:
        buffer = io.BytesIO()
        picture.figure.set_dpi(110)
        FigureCanvasAgg(picture.figure).print_png(buffer)  # savefig lays out and draws it twice
        files[f"{picture.name}.png"] = buffer.getvalue()
        image = base64.b64encode(buffer.getvalue()).decode()
        shown.append({"name": picture.name, "caption": picture.caption, "data": image})
    render = _templates(template.parent).get_template(template.name).render
    page = unbroken(render(results=content, pictures=shown, origin=origin(command), **context))
    _write_json(out, content)  # first: it marks the folder as ours
    made = {PAGE: page} | {name: text for name, text in pages.items() if text is not None}
    for name, written in (files | {name: printable(text).encode() for name, text in made.items()}).items():
        write_whole(out / name, written)
    for name in pages.keys() - made.keys():
        (out / name).unlink(missing_ok=True)
    for name in names:
        if f"{name}.png" not in files:
            (out / f"{name}.png").unlink(missing_ok=True)


def write_json(out: Path, command: str, run: Mapping[str, Any], results: dict[str, Any]) -> None:
    """``results.json`` alone, with the command, its run and the versions in it."""
    _write_json(out, _with_origin(command, run, results))


def _with_origin(command: str, run: Mapping[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    return finite({"command": command, "run": plain(run), "versions": versions()} | results)


def _write_json(out: Path, content: dict[str, Any]) -> None:
    write_whole(out / RESULTS, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


MOST_DIGITS = 17
"""Of a double."""


def significant(value: float | None, digits: int = 2) -> str:
    """A number for a table cell; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}g}" if 0.01 <= abs(value) < 10000 or value == 0 else f"{value:.{digits - 1}e}"


def outward(value: float, up: bool, digits: int = 3) -> str:
    """A number at least (``up``) or at most ``value``, with so many digits: an end of an interval."""
    if not math.isfinite(value):
        return f"{value:g}"
    rounding = decimal.ROUND_CEILING if up else decimal.ROUND_FLOOR
    found = decimal.Context(prec=digits, rounding=rounding).create_decimal(decimal.Decimal(value))
    if 0.01 <= abs(value) < 10000 or value == 0:
        return f"{found.normalize():f}"
    return f"{found:.{digits - 1}e}"


def interval(ends: Sequence[float], digits: int = 3) -> str:
    """As in [0.0131, 0.0132], rounded outward."""
    low, high = ends
    return f"[{outward(low, False, digits)}, {outward(high, True, digits)}]"


def told_apart(first: Sequence[float], second: Sequence[float]) -> tuple[str, str]:
    """Both intervals, with as many digits, from 3 on, as show that one lies below the other where it does."""
    low, high = sorted((tuple(first), tuple(second)))
    digits = 3
    while (
        low[1] < high[0]
        and digits < MOST_DIGITS
        and float(outward(low[1], True, digits)) > float(outward(high[0], False, digits))
    ):
        digits += 1
    return interval(first, digits), interval(second, digits)


def write_whole(path: Path, content: bytes) -> None:
    """The file, in a folder made for it if need be, complete before it takes its name."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
