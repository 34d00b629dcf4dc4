"""Runs the Python blocks of every note in paper_notes/ and of the README, one test a block.

The blocks of one note share a namespace and depend on the ones before them. A block that is selected alone
therefore runs its predecessors first, each once. The blocks of the README run each alone. A block that begins
with ``# needs PACKAGE`` is left out, and its test skipped, where that package is not installed.
"""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

NOTES = Path(__file__).parents[2] / "paper_notes"
NEEDS = re.compile(r"# needs (\w+)\n")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def missing(source: str) -> str:
    """The package that a block needs and that is not installed, or ""."""
    needed = NEEDS.match(source)
    return needed[1] if needed and importlib.util.find_spec(needed[1]) is None else ""


class Note:
    """The code blocks of one note, run in order in one namespace."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        self.path = path
        self.blocks = [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]
        self.namespace = {"__name__": path.stem}
        self.done = 0

    def run_through(self, index: int) -> None:
        while self.done <= index:
            first_line, source = self.blocks[self.done]
            # The blank lines make a traceback show the line of the note.
            code = compile("\n" * first_line + source, str(self.path), "exec")
            if not missing(source):
                exec(code, self.namespace)  # noqa: S102
            self.done += 1


ALL = [Note(path) for path in sorted(NOTES.glob("*.md"))]
CASES = [
    pytest.param(note, index, id=f"{note.path.stem}:{line + 1}")
    for note in ALL
    for index, (line, _) in enumerate(note.blocks)
]


README = Note(NOTES.parent / "README.md")
ALONE = [pytest.param(block, id=f"README:{line + 1}") for line, block in README.blocks]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_notes_are_found():
    assert CASES


@pytest.mark.parametrize(("note", "index"), CASES)
def test_block(note, index, one_thread):
    note.run_through(index)
    if package := missing(note.blocks[index][1]):
        pytest.skip(f"the block needs the package {package}")


def test_a_block_says_what_it_needs():
    assert missing("# needs no_such_package\nimport no_such_package\n") == "no_such_package"
    assert missing("# needs torch\n") == missing("import no_such_package\n") == ""


@pytest.mark.parametrize("block", ALONE)
def test_block_of_the_readme(block, one_thread):
    exec(compile(block, "README.md", "exec"), {"__name__": "README"})  # noqa: S102
