"""Plant every mutant in a copy of the tree, run its tests, say which test noticed it.

    python -m tests.mutants [--only PATTERN] [--jobs N] [--again]

Before the mutants the same tests run on an unchanged copy: they must pass, or "killed" would mean nothing.
Verdicts are kept in results/mutants.json and used again while neither the tree nor the mutant has changed, so
a stopped run goes on. Exit code 1 when a mutant survives that is not accepted, or an accepted one is killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from .copies import Copy, Outcome, digest_of_tree
from .listed import MUTANTS
from .mutant import ROOT, Mutant, faults

T = TypeVar("T")
KEPT = ROOT / "results" / "mutants.json"


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression in name or file")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="copies of the tree worked in (2)")
    parser.add_argument("--again", action="store_true", help="forget the verdicts of earlier runs")
    asked = parser.parse_args()
    if asked.jobs < 1:
        parser.error(f"--jobs is {asked.jobs}, needs at least 1")
    try:
        mutants = [m for m in MUTANTS if re.search(asked.only, f"{m.file} {m.name}")]
    except re.error as error:
        parser.error(f"--only is {asked.only!r}, needs a regular expression: {error}")
    if not mutants:
        parser.error(f"--only is {asked.only!r}, which no mutant's file and name holds")
    wrong = faults(mutants)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    return _run(mutants, asked.jobs, asked.again)


def _run(mutants: list[Mutant], jobs: int, again: bool) -> int:
    began = time.perf_counter()
    tree = digest_of_tree()
    keys = {m.name: hashlib.sha256(f"{tree} {m}".encode()).hexdigest() for m in mutants}
    kept: dict[str, dict] = {} if again or not KEPT.is_file() else json.loads(KEPT.read_text())
    kept = {key: kept[key] for key in keys.values() if key in kept}
    new = [m for m in mutants if keys[m.name] not in kept]
    for mutant in mutants:
        if keys[mutant.name] in kept:
            _say(mutant, Outcome(**kept[keys[mutant.name]]), " (kept)")
    if new:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            copies = [Copy(Path(folder) / str(i)) for i in range(min(jobs, len(new)))]
            try:
                copies[0].check_that_it_is_imported()
                if not _passes_unchanged(new, copies):
                    return 2
                _judge_all(new, copies, keys, kept)
            finally:
                for copy in copies:
                    copy.close()
    return _conclude(mutants, {m.name: kept[keys[m.name]]["verdict"] for m in mutants}, began)


def _judge_all(
    mutants: list[Mutant], copies: list[Copy], keys: dict[str, str], kept: dict[str, dict]
) -> None:
    lock = threading.Lock()

    def judge(copy: Copy, mutant: Mutant) -> None:
        outcome = copy.judge(mutant)
        with lock:
            _say(mutant, outcome)
            kept[keys[mutant.name]] = asdict(outcome)
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_text(json.dumps(kept, indent=1))

    _share(mutants, copies, judge)


def _passes_unchanged(mutants: Iterable[Mutant], copies: list[Copy]) -> bool:
    """Whether all tests of these mutants pass without them, file by file shared out over the copies."""
    by_file: dict[str, set[str]] = {}
    for test in sorted({test for mutant in mutants for test in mutant.tests}):
        by_file.setdefault(test.partition("::")[0], set()).add(test)
    parts: list[list[str]] = [[] for _ in copies]
    for place, (file, tests) in enumerate(by_file.items()):
        parts[place % len(copies)] += [file] if file in tests else sorted(tests)
    bad = []

    def check(copy: Copy, part: list[str]) -> None:
        outcome = copy.run(tuple(part))
        if outcome.verdict != "survived":
            bad.append(f"without any mutant: {outcome.by} ({outcome.verdict})")

    _share([part for part in parts if part], copies, check)
    print("\n".join(bad) if bad else f"unchanged: all tests of {len(by_file)} files pass", flush=True)
    return not bad


def _share(work: Iterable[T], copies: list[Copy], do: Callable[[Copy, T], None]) -> None:
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def one(item: T) -> None:
        copy = free.get()
        try:
            do(copy, item)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(one, work))


def _say(mutant: Mutant, outcome: Outcome, after: str = "") -> None:
    verdict = outcome.verdict.upper() if outcome.verdict != "killed" else "killed"
    if mutant.accepted and outcome.verdict == "survived":
        verdict = "accepted"
    by = f"by {outcome.by}" if outcome.by else mutant.accepted
    print(f"{verdict:8} {outcome.seconds:5.1f} s  {mutant.name}  {by}{after}", flush=True)


def _conclude(mutants: list[Mutant], verdicts: dict[str, str], began: float) -> int:
    bad = [m for m in mutants if verdicts[m.name] != ("survived" if m.accepted else "killed")]
    counts = {verdict: list(verdicts.values()).count(verdict) for verdict in sorted(set(verdicts.values()))}
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    print(f"{len(mutants)} mutants: {told}; {sum(bool(m.accepted) for m in mutants)} accepted", end="")
    print(f"; {time.perf_counter() - began:.0f} s")
    for mutant in bad:
        wanted = "accepted as a survivor" if mutant.accepted else "must be killed"
        print(f"{mutant.name} ({mutant.file}) {verdicts[mutant.name]}, {wanted}: {mutant.why}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
