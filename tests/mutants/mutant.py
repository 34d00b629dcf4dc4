"""One planted mistake, and what a list of them must satisfy so that it cannot rot."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """`text` of `file` replaced by `instead`, which one of `tests` must notice.

    Attributes:
        name: unique; what is wrong.
        file: from the root. text: found in it exactly once. instead: what stands there in the mutant.
        tests: files or node ids that can see it, the likeliest first; parameters of a test are not named.
        why: who relies on the line.
        accepted: empty, or why no test can notice the mutant: a proof that it changes nothing.
    """

    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    why: str
    accepted: str = ""

    def planted(self, root: Path) -> str:
        """The file of `root` with the mistake; ValueError unless `text` is found exactly once."""
        original = (root / self.file).read_text(encoding="utf-8")
        found = original.count(self.text)
        if found != 1:
            raise ValueError(f"{self.name}: {self.text!r} is found {found} times in {self.file}, needs once")
        return original.replace(self.text, self.instead)


def faults(mutants: Iterable[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with a list: texts not found once, no change, no such test, one name twice."""
    mutants = list(mutants)
    found = [
        f"{name}: the name is used {n} times" for name, n in Counter(m.name for m in mutants).items() if n > 1
    ]
    for mutant in mutants:
        try:
            ast.parse(mutant.planted(root))
        except (ValueError, SyntaxError) as error:
            found.append(f"{mutant.name}: {error}")
            continue
        if mutant.text.split() == mutant.instead.split():
            found.append(f"{mutant.name}: the mutant is the same program")
        found += [f"{mutant.name}: {fault}" for test in mutant.tests for fault in _test_faults(test, root)]
        if not mutant.tests or not mutant.why:
            found.append(f"{mutant.name}: tests and a reason are needed")
    return found


def _test_faults(test: str, root: Path) -> list[str]:
    file, _, name = test.partition("::")
    path = root / file
    if not (file.startswith("tests/") and path.is_file()):
        return [f"there is no {file}"]
    if name and not re.search(rf"^def {re.escape(name)}\(", path.read_text(encoding="utf-8"), re.MULTILINE):
        return [f"{file} has no test {name}"]
    return []
