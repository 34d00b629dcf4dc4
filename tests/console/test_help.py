"""``--help`` is whole by itself; what a command loads, and when: nothing that takes long before its options.

One process for all commands, since this one has loaded everything.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from entries import ENTRIES

from baselines.methods import METHODS
from baselines.starts import STARTS
from console.options import DTYPES
from console.table_file import SUFFIXES
from constructions.em.tasks import COVARIANCE_TYPES
from constructions.language.structured.evaluation import Evaluation
from constructions.spectral.stream import ReadIn
from training.clusterings.names import DATA
from training.clusterings.names import METHODS as CONTENDERS
from training.compare import PART_NAMES
from training.comparison.command import PARTS
from training.evaluation.asked import AXES, METHOD_NAMES
from training.serving.loading import SHIPPED
from training.trainer.config import SECTIONS
from training.trainer.preset_files import preset_names
from verify.em.own_data import BUNDLED
from verify.names import CHECK_NAMES, THEOREM_NAMES
from verify.registry import CHECKS, THEOREMS

ROOT = Path(__file__).parents[2]
SLOW = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "sympy", "jinja2")

HELP = """
import contextlib, importlib, io, json, os, sys, typer
from console.errors import run_command
found = {}
for name in json.loads(sys.argv[1]):
    app, out = importlib.import_module(name).app, io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run_command(app, ["--help"])
    command = typer.main.get_command(app)
    context = command.make_context(name, [], resilient_parsing=True)
    options = [
        [one.name, one.param_type_name, one.required, " ".join((one.get_help_record(context) or ["", ""]))]
        for one in command.get_params(context)
    ]
    slow = sorted(set(json.loads(sys.argv[2])) & sys.modules.keys())
    found[name] = [code, out.getvalue(), slow, options]
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
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": os.pathsep.join(map(str, path))},
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
    code, text, loaded, _ = help_of[name]
    assert code == 0
    assert text.startswith("Usage: ")
    assert loaded == []


def test_every_module_that_is_a_command_is_looked_at():
    files = [*ROOT.glob("verify/*.py"), *ROOT.glob("training/*.py")]
    commands = {f"{path.parent.name}.{path.stem}" for path in files if "typer.Typer(" in path.read_text()}
    assert commands == set(ENTRIES)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_every_option_has_its_words_and_its_default(name, help_of):
    _, text, _, options = help_of[name]
    assert max(map(len, text.splitlines())) <= 80
    assert "module's docstring" not in text
    for option, kind, required, record in options:
        assert len(record.split("  [default: ")[0].split()) >= 3, f"{option} says nothing"
        if option != "help" and kind == "option":
            assert required or "[default: " in record, f"{option} has no default: {record}"


def test_names_in_the_help_are_those_of_the_code():
    assert tuple(CHECKS) == CHECK_NAMES
    assert tuple(THEOREMS) == THEOREM_NAMES
    assert tuple(METHODS) == METHOD_NAMES
    assert tuple(PARTS) == PART_NAMES


CHOICES = {
    "verify.__main__": {"only": CHECKS},
    "verify.precision": {"theorems": THEOREMS, "dtypes": ("float64", "float32", "bfloat16")},
    "verify.em_construction": {
        "covariance": COVARIANCE_TYPES, "start": STARTS, "dataset": BUNDLED, "dtype": DTYPES,
        "evaluation": get_args(Evaluation), "data": SUFFIXES,
    },
    "verify.spectral_construction": {
        "dataset": BUNDLED, "data": SUFFIXES, "read_in": get_args(ReadIn), "variance": ("estimated",),
        "dtype": DTYPES, "evaluation": get_args(Evaluation),
    },
    "verify.tensor_power": {
        "data": SUFFIXES, "dataset": BUNDLED, "dtype": DTYPES, "variance": ("estimated",),
        "evaluation": get_args(Evaluation),
    },
    "verify.softmax_tensor_power": {"dtype": DTYPES, "evaluation": get_args(Evaluation)},
    "verify.theorem": {"dtype": DTYPES, "evaluation": get_args(Evaluation)},
    "training.train": {"preset": preset_names(), "changes": SECTIONS, "device": ("auto", "cpu", "cuda")},
    "training.throughput": {"preset": preset_names(), "device": ("auto", "cpu", "cuda")},
    "training.compare": {"checkpoint": SHIPPED, "only": PARTS},
    "training.export": {"network": ("em", *SHIPPED), "dtype": DTYPES},
    "training.clustering": {"data": DATA, "methods": CONTENDERS},
    "training.evaluate": {"what": SHIPPED, "grid": AXES, "methods": (*METHODS, "all", "none")},
    "training.real_data": {"model": ("auto", *SHIPPED)},
}  # fmt: skip
"""What an option of a closed list takes, where the code that reads it has it."""


@pytest.mark.parametrize("name", list(CHOICES))
def test_an_option_of_a_closed_list_says_all_of_it(name, help_of):
    """In its own words or, where these are many, in the list above the options."""
    _, text, _, options = help_of[name]
    above = text.partition("Options:")[0]
    for option, accepted in CHOICES[name].items():
        [record] = [record for found, _, _, record in options if found == option]
        words = set(re.split(r"[\s,;:()\[\]]+", record + (above if "those above" in record else "")))
        words |= {word.rstrip(".") for word in words}
        assert set(accepted) <= words, f"{option} does not say {set(accepted) - words}"


def test_a_stop_is_answered_while_what_takes_long_is_loaded(tmp_path):
    """A module in the place of torch says who answers Ctrl-C then; afterwards Python does."""
    (tmp_path / "torch.py").write_text(
        "import sys\nsys.torch_was_asked_for()\nraise ImportError('no torch here')\n", encoding="utf-8"
    )
    found = told(STOPS, [tmp_path, ROOT], ENTRIES)
    assert found == {name: [True, "no torch here", True] for name in ENTRIES}
