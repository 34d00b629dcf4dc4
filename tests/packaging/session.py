"""Commands of an installation, one after the other, each with what is expected of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .environment import Environment


@dataclass(frozen=True)
class Expected:
    """A program with its words, and what it must do.

    Attributes:
        words: as typed, in one line, or one by one.
        says: stands in what it prints; of a refusal, in its one line on stderr.
        writes: files that are there afterwards. code: its exit code.
    """

    words: str | tuple[str, ...]
    says: str = ""
    writes: Sequence[str] = ()
    code: int = 0


class Session:
    """Runs them in one folder and counts what went wrong."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment, self.folder = environment, folder
        self.passed = self.failed = 0

    def run(self, expected: Expected) -> None:
        """One command; a line with its seconds, and all that it wrote where it failed."""
        words = expected.words.split() if isinstance(expected.words, str) else expected.words
        began = time.perf_counter()
        done = self.environment.run(words, self.folder)
        said = done.stderr if expected.code else done.stdout
        wrong = [f"{name} is missing" for name in expected.writes if not (self.folder / name).is_file()]
        if done.returncode != expected.code:
            wrong.append(f"its exit code is {done.returncode}, not {expected.code}")
        if expected.says not in said:
            wrong.append(f"it does not say {expected.says!r}")
        if expected.code and done.stderr.count("\n") != 1:
            wrong.append("its refusal is not one line")
        self.note(" ".join(words), wrong, time.perf_counter() - began)
        if wrong:
            print(done.stdout + done.stderr)

    def note(self, what: str, wrong: Sequence[str], seconds: float) -> None:
        """A check that passed where nothing is wrong."""
        verdict = "; ".join(wrong) or "passed"
        print(f"{seconds:6.1f} s  {what[:150]}: {verdict}", flush=True)
        self.passed += not wrong
        self.failed += bool(wrong)

    def close(self) -> int:
        """The last line, and the exit code: 1 where anything failed."""
        print(f"{self.passed} passed, {self.failed} failed")
        return int(self.failed > 0)
