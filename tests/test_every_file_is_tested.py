"""Each file has a test of its own name, or is listed in tests/tested_through.toml with one that runs it."""

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTED_THROUGH: dict[str, str] = tomllib.loads((ROOT / "tests" / "tested_through.toml").read_text())
ROOMS = ("constructions", "baselines", "training", "verify", "console")
FILES = sorted(
    str(path.relative_to(ROOT))
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
HELPERS = {path.stem: path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_")}


def own_test(file: str) -> Path:
    """tests/em/test_weights.py of em/weights.py."""
    return ROOT / "tests" / Path(file).parent / f"test_{Path(file).stem}.py"


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere in it; ``from a import b`` may mean the module a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def neighbours(path: Path) -> frozenset[Path]:
    """Files that a file imports."""
    return frozenset(file for module in imported(path) for file in files_of(module))


def files_of(module: str) -> Iterator[Path]:
    """The files of a module of ours, packages on the way included, or of a helper of the tests."""
    parts = module.split(".")
    if parts[0] in ROOMS:
        for end in range(1, len(parts) + 1):
            place = ROOT.joinpath(*parts[:end])
            yield from (
                found for found in (place / "__init__.py", place.with_suffix(".py")) if found.exists()
            )
    elif module in HELPERS:
        yield HELPERS[module]


def reached(test: Path) -> set[Path]:
    """Files that a test imports, directly or through others."""
    found, pending = {test}, [test]
    while pending:
        fresh = neighbours(pending.pop()) - found
        found |= fresh
        pending += fresh
    return found


def test_a_file_has_its_test_or_is_listed_once() -> None:
    own = {file for file in FILES if own_test(file).exists()}
    assert set(FILES) - own == set(TESTED_THROUGH), "missing in the list, or listed though it has its own"


@pytest.mark.parametrize("test", sorted(set(TESTED_THROUGH.values())))
def test_a_listed_test_reaches_the_files_that_it_is_to_test(test: str) -> None:
    files = {ROOT / file for file, through in TESTED_THROUGH.items() if through == test}
    assert files <= reached(ROOT / test), sorted(map(str, files - reached(ROOT / test)))
