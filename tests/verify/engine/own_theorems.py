"""The theorem of paper_notes/your_own_theorem.md as a file of somebody's own, right or with a mistake."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

NOTE = Path(__file__).parents[3] / "paper_notes" / "your_own_theorem.md"
TEXT = NOTE.read_text(encoding="utf-8")
SOURCE = "".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
NAME = "GRADIENT_DESCENT"


def changed(old: str, new: str) -> str:
    """The file with one text in place of another."""
    assert SOURCE.count(old) == 1, old
    return SOURCE.replace(old, new)


def theorem_of(source: str) -> Any:
    """What the file calls GRADIENT_DESCENT."""
    module = ModuleType(f"own_theorem_{abs(hash(source))}")
    sys.modules[module.__name__] = module
    exec(compile(source, str(NOTE), "exec"), module.__dict__)  # noqa: S102
    return getattr(module, NAME)


GRADIENT_DESCENT = theorem_of(SOURCE)
