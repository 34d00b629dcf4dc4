"""What a run says at its end: how good the model is on fixed tasks, and the command that goes on from it."""

from __future__ import annotations

import shlex
from pathlib import Path

from training.trainer.config import RunConfig, load_preset
from training.trainer.preset_files import preset_names
from training.trainer.progress import EM_STEPS
from training.trainer.run_folder import METRICS, MODEL, learning_curve


def closing_lines(out: Path, config: RunConfig) -> list[str]:
    """The validation error of the last evaluation, then the next commands as they are typed."""
    last = learning_curve(out / METRICS)[-1]
    tasks = config.training.evaluation_tasks
    lines = [f"validation error, {tasks} fixed tasks of each K, mean: {_each(last['network'])}"]
    if "polished" in last:
        lines[0] += f"; after {EM_STEPS} EM steps: {_each(last['polished'])}"
    model = out / MODEL
    lines.append(f"next: python -m training.evaluate {shlex.quote(str(model))} --quick")
    for name in preset_names():
        if Path(load_preset(name).training.init) == model:
            stage = shlex.quote(str(out.with_name(name)))
            lines.append(f"or its next stage: python -m training.train --preset {name} --out {stage}")
    return lines


def _each(errors: dict[str, float]) -> str:
    return ", ".join(f"{error:.3g} (K = {K})" for K, error in errors.items())
