"""What a long command keeps on disk while it runs, so that a stopped one goes on: one JSON file a cell.

A cell is a piece of the work whose figures are a function of the run alone (console.folder), whatever else
was computed before it. ``OUT/parts/KEY.json`` holds them with all that decides them: command, settings of the
run, the code, the versions of the libraries, the threads. A file of other ones is not used. A cell that was
cut short has no file, and is computed again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from console.errors import BadInputError, StoppedError
from console.folder import CELLS, plain, word
from console.output import versions, write_whole

FORMAT = 1
"""Of the files; another one is not used."""


def code_digest(rooms: Sequence[str]) -> str:
    """SHA-256 of the sources that cells are computed by, folders or files: other code, other figures."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in rooms:
        place = root / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Cells:
    """The finished cells of one run on disk.

    Args:
        out: the folder of the run. command: who computes. run: what decides the figures, as for check_out.
        rooms: whose code computes them. threads: of torch; default those set now.
    """

    def __init__(
        self,
        out: Path,
        command: str,
        run: Mapping[str, Any],
        rooms: Sequence[str],
        threads: int | None = None,
    ) -> None:
        self.out, self.folder = out, out / CELLS
        self.done: set[str] = set()
        self.origin = {
            "format": FORMAT,
            "command": command,
            "run": plain(run),
            "code": code_digest(rooms),
            "versions": versions(),
            "threads": torch.get_num_threads() if threads is None else threads,
        }

    def load(self, key: str) -> Any:
        """What the cell computed before, or None: nothing there, damaged, or of another origin."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))
            fitting = kept["key"] == key and all(kept[name] == self.origin[name] for name in self.origin)
            data = kept["data"] if fitting else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if data is not None:
            self.done.add(key)
        return data

    def save(self, key: str, data: Any) -> Any:
        """Keep it, and give it back as a later :meth:`load` would; NaN and infinities stay what they are.

        Raises:
            BadInputError: the folder cannot be written.
        """
        text = json.dumps({"key": key} | self.origin | {"data": data}, indent=1)
        path = self._path(key)
        try:
            write_whole(path, text.encode())
        except OSError as problem:
            raise BadInputError(f"{path}: cannot be written ({problem.strerror})") from None
        self.done.add(key)
        return json.loads(text)["data"]

    def all_of(self, keys: Sequence[str], compute: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
        """Each key with its cell: from disk, or computed and kept as soon as it is done."""
        for key in keys:
            kept = self.load(key)
            yield key, self.save(key, compute(key)) if kept is None else kept

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those that are still to be computed; says on stderr how many are there, if any."""
        found = [key for key in keys if self.load(key) is None]
        if len(found) < len(keys):
            done = f"{len(keys) - len(found)} of {len(keys)} parts are there already"
            print(f"{self.out}: {done}, going on", file=sys.stderr)
        return found

    @contextmanager
    def stopping(self, keys: Sequence[str]) -> Iterator[None]:
        """Inside, Ctrl-C ends the command with what is saved and how to go on.

        Raises:
            StoppedError: in place of KeyboardInterrupt.
        """
        try:
            yield
        except KeyboardInterrupt:
            done = len(self.done.intersection(keys))
            if not done:
                raise StoppedError("stopped before the first part was done; nothing is saved") from None
            saved = f"{done} of {len(keys)} parts are saved in {self.out}"
            raise StoppedError(f"stopped; {saved}, the same command goes on there") from None

    def _path(self, key: str) -> Path:
        return self.folder / f"{word(key)}.json"
