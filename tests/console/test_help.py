"""What a command loads, and when: nothing that takes long before its options are read.

One process for all commands, since this one has loaded everything.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from entries import ENTRIES

ROOT = Path(__file__).parents[2]
SLOW = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "sympy", "jinja2")

HELP = """
import contextlib, importlib, io, json, sys
from console.errors import run_command
found = {}
for name in json.loads(sys.argv[1]):
    app, out = importlib.import_module(name).app, io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run_command(app, ["--help"])
    found[name] = [code, out.getvalue(), sorted(set(json.loads(sys.argv[2])) & sys.modules.keys())]
print(json.dumps(found))
"""

STOPS = """
import importlib, json, signal, sys
from console import starting
from console.errors import run_command
sys.argv[0] = "-m"
found = {}
for name, words in json.loads(sys.argv[1]).items():
    starting.answer_early_stops()
    app, seen = importlib.import_module(name).app, []
    sys.torch_was_asked_for = lambda: seen.append(signal.getsignal(signal.SIGINT) is starting._end)
    try:
        run_command(app, words.split())
    except ImportError as problem:
        seen.append(str(problem))
    found[name] = [*seen, signal.getsignal(signal.SIGINT) is signal.default_int_handler]
print(json.dumps(found))
"""


def told(program, path, *arguments):
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, *map(json.dumps, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def help_of():
    return told(HELP, [ROOT], list(ENTRIES), SLOW)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_help_loads_nothing_that_takes_long(name, help_of):
    code, text, loaded = help_of[name]
    assert code == 0
    assert text.startswith("Usage: ")
    assert loaded == []


def test_a_stop_is_answered_while_what_takes_long_is_loaded(tmp_path):
    """A module in the place of torch says who answers Ctrl-C then; afterwards Python does."""
    (tmp_path / "torch.py").write_text(
        "import sys\nsys.torch_was_asked_for()\nraise ImportError('no torch here')\n", encoding="utf-8"
    )
    found = told(STOPS, [tmp_path, ROOT], ENTRIES)
    assert found == {name: [True, "no torch here", True] for name in ENTRIES}
