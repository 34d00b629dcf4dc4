"""Copies of the tree in a temporary folder, in which mutants are planted and tests run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mutant import ROOT, Mutant

PACKAGES = ("constructions", "baselines", "training", "verify", "console")
FOLDERS = (*PACKAGES, "tests", "paper_notes")
FILES = ("pyproject.toml",)
LEAVE_OUT = shutil.ignore_patterns("__pycache__", ".*", "benchmarks")
PLANTED = 'raise RuntimeError("a planted mistake")\n'


@dataclass(frozen=True)
class Outcome:
    """verdict is "killed", "survived", "hangs" or "breaks" (no test could run); by: the test that failed.

    seconds: of processor time.
    """

    verdict: str
    by: str
    seconds: float


class Copy:
    """One copy of the tree and a process that runs its tests."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for name in FOLDERS:
            shutil.copytree(ROOT / name, folder / name, ignore=LEAVE_OUT)
        for name in FILES:
            shutil.copy(ROOT / name, folder / name)
        # By the hash of the source: two versions of a file within one second would share a time.
        compiling = ("-m", "compileall", "-q", "--invalidation-mode", "checked-hash", *PACKAGES)
        subprocess.run([sys.executable, *compiling], cwd=folder, check=True)  # noqa: S603
        # CI: the same examples of hypothesis every time.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CI": "1", "MPLBACKEND": "Agg"}
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(ROOT / "tests" / "mutants" / "forked.py"), str(folder)],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def check_that_it_is_imported(self) -> None:
        """RuntimeError unless every package, and a test, sees what is planted in this copy."""
        for package in PACKAGES:
            self._expect_planted(f"{package}/__init__.py", {"code": f"import {package}"})
        self._expect_planted(
            "baselines/align.py", {"tests": ["tests/baselines/test_alignment_and_metrics.py"]}
        )

    def _expect_planted(self, file: str, job: dict[str, Any]) -> None:
        path = self.root / file
        original = path.read_text(encoding="utf-8")
        path.write_text(PLANTED, encoding="utf-8")
        found = self._ask(job)
        path.write_text(original, encoding="utf-8")
        if found["exit"] == 0 or "a planted mistake" not in found["last"]:
            raise RuntimeError(f"{file} of the copy is not what {job} imports: {found['last']}")

    def judge(self, mutant: Mutant) -> Outcome:
        """Plant the mutant, run its tests until one fails, restore the file."""
        path = self.root / mutant.file
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.planted(self.root), encoding="utf-8")
        try:
            return self.run(mutant.tests)
        finally:
            path.write_text(original, encoding="utf-8")

    def run(self, tests: tuple[str, ...]) -> Outcome:
        """The tests, until one fails."""
        found = self._ask({"tests": tests})
        seconds = found["seconds"]
        if found["exit"] is None:
            return Outcome("hangs", "", seconds)
        if found["exit"] == 0:
            return Outcome("survived", "", seconds)
        if found["exit"] == 1 and found["failed"]:
            return Outcome("killed", found["failed"], seconds)
        return Outcome("breaks", " ".join(found["last"].splitlines()[-1:]), seconds)

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that runs the tests of {self.root} has ended")
        return json.loads(answer)


def digest_of_tree() -> str:
    """Of everything that a copy holds: the same code and tests, the same verdicts."""
    digest = hashlib.sha256()
    for name in (*FOLDERS, *FILES):
        top = ROOT / name
        for path in sorted([top] if top.is_file() else top.rglob("*")):
            inside = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in inside.parts and inside.parts[1:2] != ("mutants",):
                digest.update(f"{inside}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
