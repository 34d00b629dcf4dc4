"""Are the versions that pyproject.toml names true? The tests, with the oldest of all and with the newest.

    python -m tests.packaging.versions oldest          # each at its lower bound; of torch some gigabytes
    python -m tests.packaging.versions oldest --torch 2.13.0
    python -m tests.packaging.versions newest [--torch VERSION] [TESTS ...]

In an environment of its own, on a copy of the tracked files. The dependencies and every extra that has a
version of its own are asked for at exactly their lower bounds, so that bounds which do not resolve together
are an error of pip's. TESTS are files and folders; the default is the part below. A warning of our modules is
an error, as in the default suite; what foreign libraries call deprecated is shown at the end and is none.
Exit code: that of pytest.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from .environment import CONSTRAINTS, Environment
from .tree import PACKAGES, copy_to

PART = (
    "tests/baselines",
    "tests/console",
    "tests/constructions/em",
    "tests/constructions/language",
    "tests/training/model",
    "tests/training/trainer",
    "tests/training/comparison/finding",
    "tests/training/comparison/rule",
    "tests/training/interpretability",
    "tests/verify/em",
    "tests/verify/engine",
    "tests/paper_notes",
)
"""Tests that reach every dependency."""

LEFT_OUT = ("interpretability", "docs", "dev")
"""Extras that are not installed whole: the tests that need the first stand without it, tools test nothing."""

TOOLS = ("build", "pyright", "ruff")

OURS = "|".join((*PACKAGES, "tests"))
WARNINGS = "\n".join(
    (
        "default",
        rf"error:::({OURS})(\.|$)",
        "default::DeprecationWarning",
        "default::PendingDeprecationWarning",
        "default::FutureWarning",
    )
)
"""In place of "error" in pyproject.toml, where all versions are known and any warning is looked into."""


def bounds() -> dict[str, str]:
    """Package -> its lower bound, of all that the tests can use."""
    project = tomllib.loads((CONSTRAINTS.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["dev"]]
    lines += [line for name, more in extras.items() if name not in LEFT_OUT for line in more]
    found = dict(re.match(r"([A-Za-z0-9-]+)(?:\[\w+\])?>=([0-9.]+)", line).groups() for line in lines)
    return {name: bound for name, bound in found.items() if name not in TOOLS}


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.packaging.versions", description=__doc__.split("\n")[0]
    )
    parser.add_argument("which", choices=("oldest", "newest"))
    parser.add_argument("--torch", metavar="VERSION", help="of torch, in place of the oldest or the newest")
    parser.add_argument("tests", nargs="*", default=[], help="files and folders (a part)")
    asked = parser.parse_intermixed_args()  # TESTS may stand behind --torch
    with tempfile.TemporaryDirectory(prefix=f"{asked.which}-") as name:
        return _try(Path(name), asked.which, asked.torch, asked.tests or PART)


def _try(place: Path, which: str, torch: str | None, tests: list[str] | tuple[str, ...]) -> int:
    (place / "tree").mkdir()
    tree = copy_to(place / "tree")
    environment = Environment(place / "environment")
    wanted = bounds()
    join = "==" if which == "oldest" else ">="
    asked = [f"{name}{join}{bound}" for name, bound in wanted.items() if name != "torch"]
    first = f"torch=={torch}" if torch else f"torch{join}{wanted['torch']}"
    environment.install(first)
    environment.install("--upgrade", first, *asked)
    environment.install("--no-deps", _metadata(place))
    print(
        "installed: "
        + ", ".join(f"{name} {version}" for name, version in environment.versions([*wanted]).items())
    )
    if torch:
        print(f"note: torch is {torch} as asked for, not the {which} of pyproject.toml", flush=True)
    words = [
        "python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        f"filterwarnings={WARNINGS}",
        *tests,
    ]
    return environment.run(words, tree, shown=True).returncode


def _metadata(place: Path) -> Path:
    """A second copy, from which the package is installed: pip leaves its own files in what it builds."""
    (place / "source").mkdir()
    return copy_to(place / "source")


if __name__ == "__main__":
    sys.exit(main())
