"""Summaries of docstrings, versions, and what is imported for them."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from console.subcommands import summary, version

ROOT = Path(__file__).parents[2]
LOADED = """
import sys
from console.errors import run_command
from console.subcommands import app
codes = [run_command(app, [word]) for word in ("--help", "--version")]
print(codes, sorted({"torch", "numpy", "scipy", "sklearn", "matplotlib", "jinja2"} & sys.modules.keys()))
"""


def test_the_summary_is_the_first_sentence_without_the_command() -> None:
    assert summary("``python -m verify``: the ledger\nof claims. Exit code 1.") == "the ledger of claims."
    assert summary("Train: by a preset.\n\nMore.") == "Train: by a preset."


def test_versions_are_those_installed() -> None:
    words = version().replace("(", "").replace(")", "").replace(",", "").split()
    ours, torchs = metadata.version("gmm-theory-toolkit"), metadata.version("torch")
    python = ".".join(map(str, sys.version_info[:3]))
    assert words == ["gmm-theory", ours, "Python", python, "torch", torchs]


def test_help_and_version_import_nothing_that_takes_long() -> None:
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "[0, 0] []"
    assert version() in found.stdout
