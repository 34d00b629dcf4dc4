"""Tiny training runs: a preset, the command in this process or in forked ones, and what a run leaves."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.errors import run_command
from training.train import app
from training.trainer.config import RunConfig
from training.trainer.run_folder import read_metrics

ROOT = Path(__file__).parents[3]
FORKER = Path(__file__).with_name("training_forker.py")

TINY: dict[str, dict[str, Any]] = {
    "tasks": {"n_features": 2, "components": [1, 2], "samples": [4, 8]},
    "model": {"layers": 1, "heads": 1, "width": 8, "mlp_ratio": 1},
    "training": {
        "steps": 12,
        "tasks_per_step": 4,
        "micro_batches": 2,
        "warmup": 2,
        "log_every": 5,
        "evaluate_every": 8,
        "evaluation_tasks": 2,
        "threads": 1,
    },
}


def settings(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """TINY with the given keys of its sections changed."""
    return {name: {**section, **changes.get(name, {})} for name, section in TINY.items()}


def tiny_config(**changes: dict[str, Any]) -> RunConfig:
    return RunConfig.from_dict(settings(**changes))


def preset(folder: Path, **changes: dict[str, Any]) -> Path:
    """Write TINY, with changes, as a TOML file."""
    lines = []
    for name, section in settings(**changes).items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def train(*arguments: object) -> Outcome:
    """`python -m training.train` with these arguments, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(app, [str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(*arguments: object) -> str:
    """The one line with which the command refuses these arguments, before any other output."""
    outcome = train(*arguments)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    return outcome.err


def result(out: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """What must not depend on how often a run was stopped: the weights, and the metrics without seconds."""
    lines = read_metrics(out / "metrics.jsonl")
    kept = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return (out / "model.safetensors").read_bytes(), kept


class Forker:
    """The process that forks the children which train; see training_forker."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(self, log: Path, *arguments: object, **job: Any) -> list[int]:
        """Exit codes of the processes; -9 for one that was killed. What they print is appended to `log`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job.update(log=str(log), arguments=[str(argument) for argument in arguments])
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def forking() -> Iterator[Forker]:
    with subprocess.Popen(  # noqa: S603
        [sys.executable, str(FORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield Forker(process)
        finally:
            process.kill()
