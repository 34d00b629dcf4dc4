"""Runs the Python blocks of every note in paper_notes/ and of the README, one test a block.

The blocks of one note share a namespace and depend on the ones before them. A block that is selected alone
therefore runs its predecessors first, each once. The blocks of the README run each alone.
"""

import re
from pathlib import Path

import pytest
import torch

NOTES = Path(__file__).parents[2] / "paper_notes"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


@pytest.mark.parametrize("block", ALONE)
def test_block_of_the_readme(block, one_thread):
    exec(compile(block, "README.md", "exec"), {"__name__": "README"})  # noqa: S102
