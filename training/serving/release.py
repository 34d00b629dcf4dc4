"""What ``python -m training.release`` does once its options are read."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2

from console.errors import checking_input
from training.serving.loading import load_released
from training.tasks import TaskDistribution
from training.trainer.checkpoint import load_model, save_model
from training.trainer.config import RunConfig, load_preset
from training.trainer.run_folder import METRICS, MODEL, learning_curve

TEMPLATE = "model_card.md.j2"


class Missing(jinja2.StrictUndefined):
    """An entry that is not there; formatting it raises jinja2.UndefinedError with its name."""

    def __format__(self, spec: str) -> str:
        return str(self)


def release(run: Path, evaluation: Path, name: str, out: Path) -> int:
    """Write the model and its card; the exit code."""
    with checking_input():
        if not re.fullmatch("[A-Za-z0-9_-]+", name):
            raise ValueError(f"--name {name}: needs letters, digits, '-' and '_' only")
        path = out / f"tgmm_{name}.safetensors"
        tensors, config, facts = load_model(run / MODEL)
        card = model_card(name, run, evaluation)
        _refuse_another(path, load_released(run / MODEL).sha256)
        try:
            out.mkdir(parents=True, exist_ok=True)
            save_model(path, tensors, config, facts)
            path.with_suffix(".md").write_text(card, encoding="utf-8")
        except OSError as problem:
            raise ValueError(f"--out {out}: cannot be written ({problem.strerror})") from None
    print(f"wrote {path}, its .json and its .md")
    return 0


def _refuse_another(path: Path, sha256: str) -> None:
    """ValueError where a model of other weights has the name already."""
    if path.exists() and load_released(path).sha256 != sha256:
        raise ValueError(
            f"{path}: is another model (SHA-256 differs); give another --out, or move it away first"
        )


def model_card(name: str, run: Path, evaluation: Path) -> str:
    """The card as Markdown.

    Raises ValueError for files that are missing or damaged, a run of other settings than the preset's, and
    an evaluation of another model or grid.
    """
    released = load_released(run / MODEL)
    facts = released.training
    config = _settings(name, run / MODEL, facts)
    kind = config.model.covariance
    grid = "main" if kind == "unit" else kind
    measured = _evaluation(evaluation / "results.json", released.sha256, run / MODEL, grid)
    curve = learning_curve(run / METRICS)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=Missing,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701  Markdown from our own files
    )
    template = environment.get_template(TEMPLATE)
    try:
        return template.render(
            name=f"tgmm_{name}",
            preset=name,
            sha256=released.sha256,
            kilobytes=round((run / MODEL).stat().st_size / 1000),
            facts=facts,
            law=law_in_words(config.tasks),
            evaluation=measured,
            curve=curve,
            **config.to_dict(),
        )
    except (jinja2.UndefinedError, TypeError, ValueError, OverflowError) as problem:
        raise ValueError(
            f"{run} or {evaluation}: an entry that the card needs is missing or of another kind ({problem})"
        ) from None


def law_in_words(tasks: TaskDistribution) -> str:
    """As in "the paper's tasks"; else what differs from them."""
    plain = TaskDistribution(tasks.n_features, tasks.components, tasks.samples)
    found = {
        field.name: getattr(tasks, field.name)
        for field in fields(tasks)
        if getattr(tasks, field.name) != getattr(plain, field.name)
    }
    changes = ", ".join(f"{name} {value}" for name, value in found.items())
    return f"the paper's tasks with {changes}" if changes else "the paper's tasks"


def _settings(name: str, model: Path, facts: dict[str, Any]) -> RunConfig:
    """Those of the run, which are the preset's; ValueError otherwise."""
    wanted = load_preset(name)
    try:
        found = RunConfig.from_dict(facts.get("config"))
    except ValueError as problem:
        raise ValueError(f"{model}: has no settings of a run in its training facts ({problem})") from None
    if found != wanted:
        raise ValueError(f"{model}: is a run of other settings than preset {name}")
    return found


def _evaluation(path: Path, digest: str, model: Path, grid: str) -> dict[str, Any]:
    """The results of this grid, the model's of this digest among them; ValueError otherwise."""
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: cannot be read as JSON ({problem})") from None
    kinds = {"models": list, "settings": dict, "cells": list}
    for key, kind in kinds.items():
        if not (isinstance(measured, dict) and isinstance(measured.get(key), kind)):
            raise ValueError(f"{path}: has no {key!r} as training.evaluate writes them")
    if digest not in [one.get("sha256") for one in measured["models"] if isinstance(one, dict)]:
        raise ValueError(f"{path.parent}: is no evaluation of {model}; run training.evaluate on it")
    settings = measured["settings"]
    if settings.get("grid") != grid:
        raise ValueError(f"{path}: is of the grid {settings.get('grid')!r}, needs {grid!r}")
    if not isinstance(settings.get("command"), str):
        raise ValueError(f"{path}: has the command {settings.get('command')!r}, needs a string")
    return measured
