"""The folder of results of a command, refused before the work if it cannot serve; and its last act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from console.errors import BROKEN
from console.output import Picture, check_out, write_results
from console.typed_json import to_plain


@dataclass(frozen=True)
class Report:
    """Where and what a command writes.

    Attributes:
        out: the folder. command: who writes. names: of every picture that may be made.
        run: what decides the figures. template: of the page.
        pages: names of the files of pages that may be made beside that one.

    Raises:
        BadInputError: when it is made, for a folder that cannot be written or that holds another run.
    """

    out: Path
    command: str
    names: Sequence[str]
    run: Mapping[str, Any]
    template: Path
    pages: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_out(self.out, self.command, self.names, self.run, self.pages)

    def write(
        self,
        console: Console,
        results: dict[str, Any],
        pictures: list[Picture],
        page: dict[str, Any],
        made: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Results, pictures and page, a line that says so, and the exit code by ``results["passed"]``.

        Dataclasses in the results become objects of their fields. ``page`` is what the template needs beside
        results and pictures; the settings go there as lines. ``made``: those of ``pages`` that were made.
        """
        settings = "\n".join(f"{name}: {value}" for name, value in results["settings"].items())
        content = {"settings": settings} | page
        plain = to_plain(results)
        where = self.out, self.command, self.run
        pages = {name: made.get(name) for name in self.pages}
        write_results(*where, plain, pictures, self.names, self.template, content, pages)
        figures = f"{len(pictures)} figure{'' if len(pictures) == 1 else 's'}"
        written = f"wrote {', '.join((str(self.out / 'index.html'), *made))}, results.json, {figures}"
        console.print(written, markup=False)
        return 0 if results.get("passed", True) else BROKEN
