"""Who may import whom: constructions and baselines know no other room, nobody imports verify, no circles."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("constructions", "baselines", "training", "verify", "console")
FORBIDDEN = {
    "constructions": {"baselines", "training", "verify", "tests"},
    "baselines": {"constructions", "training", "verify", "tests"},
    "training": {"verify", "tests"},
    "verify": {"tests"},
    "console": {"constructions", "baselines", "training", "verify", "tests"},
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(source: str, running_only: bool = False) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of every import, also inside functions; relative imports give an empty name.

    With ``running_only`` those under ``if TYPE_CHECKING`` are left out: they are for type checkers.
    """
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("" if node.level else (node.module or "").split(".")[0], node.lineno)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            target = node.args[0] if node.args else None
            known = isinstance(target, ast.Constant) and isinstance(target.value, str)
            yield (target.value.split(".")[0] if known else "<unknown>", node.lineno)
        guarded = isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING"
        pending += node.orelse if guarded and running_only else ast.iter_child_nodes(node)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_imports_are_found_wherever_they_are_written() -> None:
    source = """
import a.b, c as d
from e.f import g
from . import h
if TYPE_CHECKING:
    from i import j
else:
    import k
def function():
    import l
    importlib.import_module("m.n")
    __import__(name)
"""
    names = sorted(name for name, _ in imported(source))
    assert names == ["", "<unknown>", "a", "c", "e", "i", "k", "l", "m"]
    assert sorted(name for name, _ in imported(source, running_only=True)) == [n for n in names if n != "i"]


def test_every_room_is_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ROOMS)
    assert ROOT / "constructions" / "em" / "weights.py" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_does_not_import_what_it_must_not_know(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    wrong = [(name, line) for name, line in imported(path.read_text()) if name in FORBIDDEN[room]]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.is_relative_to(ROOT / "constructions")], ids=lambda path: path.name
)
def test_constructions_need_torch_and_numpy_only(path: Path) -> None:
    allowed = {"constructions", "torch", "numpy", *sys.stdlib_module_names}
    if path.name == "plotting.py":
        allowed.add("matplotlib")
    wrong = [(n, line) for n, line in imported(path.read_text(), running_only=True) if n not in allowed]
    assert wrong == []


def test_nobody_else_imports_verify() -> None:
    for path in ROOT.glob("*.py"):
        assert "verify" not in [name for name, _ in imported(path.read_text())], path


def folders_of(path: Path) -> str:
    """constructions/em/weights.py -> constructions.em; the entry points of a room belong to the room."""
    return ".".join(path.relative_to(ROOT).parts[:-1])


def arrows(room: str) -> dict[str, set[str]]:
    """Which folder of a room imports from which other, also for type checkers only."""
    folders = {folders_of(path) for path in FILES}
    found: dict[str, set[str]] = {folder: set() for folder in folders if folder.split(".")[0] == room}
    for path in FILES:
        own = folders_of(path)
        for node in ast.walk(ast.parse(path.read_text())) if own in found else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                target = node.module if node.module in folders else node.module.rpartition(".")[0]
                found[own] |= {target} & (found.keys() - {own, room})
    return found


@pytest.mark.parametrize("room", ["constructions", "training", "verify"])
def test_folders_of_a_room_form_no_circle(room: str) -> None:
    left = arrows(room)
    assert len(left) > 3
    while free := [folder for folder, needs in left.items() if not needs & left.keys()]:
        for folder in free:
            del left[folder]
    assert left == {}


def test_the_language_knows_no_theorem() -> None:
    found = arrows("constructions")
    assert found["constructions.language"] == set()
    language = {"constructions.language", "constructions.language.structured"}
    assert found["constructions.language.structured"] == {"constructions.language"}
    assert found["constructions.tensor_power"] == language
    # Full and tied covariances: sweeps of matrices, in softmax attention by pairs of heads.
    assert found["constructions.em"] == language | {"constructions.matrices", "constructions.tensor_power"}
