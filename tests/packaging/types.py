"""Do the types of an installation reach somebody else's file? pyright's word for it, in numbers of errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .environment import Environment

FILE = """
from baselines.em_estimator import EMMixture
from console.errors import BadInputError
from constructions import em_construction
from training import TGMMMixture
from verify.engine.theorem import Theorem

em = em_construction(max_dim=8, max_components=5, steps=10, pieces=512)
reveal_type(em)
reveal_type(em.explain())
reveal_type(EMMixture(3))
reveal_type(TGMMMixture(3))
reveal_type(BadInputError("one line"))
wrong: int = em.explain()
"""
TYPES = ("EMConstruction", "str", "EMMixture", "TGMMMixture", "BadInputError")


def faults(environment: Environment, folder: Path) -> list[str]:
    """What is wrong: types that are not those, or a mistake that is not found."""
    (folder / "outside.py").write_text(FILE)
    words = ["-m", "pyright", "--outputjson", "--pythonpath", str(environment.bin / "python"), "outside.py"]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    told = json.loads(done.stdout)["generalDiagnostics"]
    seen = [
        one["message"].rpartition(" is ")[2].strip('"') for one in told if one["severity"] == "information"
    ]
    errors = [one["message"].splitlines()[0] for one in told if one["severity"] == "error"]
    wrong = [] if seen == list(TYPES) else [f"its types are {seen}, not {list(TYPES)}"]
    if len(errors) != 1 or '"str" is not assignable' not in errors[0]:
        wrong.append(f"its errors are {errors}, not the one of the last line")
    return wrong
