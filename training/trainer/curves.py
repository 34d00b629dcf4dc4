"""What ``python -m training.curves`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console

from baselines.em import em
from baselines.metrics import errors
from console.drawing import legend
from console.errors import checking_input
from console.figures import plain
from console.output import Picture, check_out, write_results
from console.terminal import print_table
from constructions.language.shown import short_repr
from training.tasks import sample_tasks
from training.trainer.config import ConfigError, RunConfig
from training.trainer.ordered_floor import ordered_floor
from training.trainer.progress import N_SAMPLES
from training.trainer.run_folder import CONFIG, METRICS, learning_curve, resume_folder

COMMAND = "training.curves"
NAMES = ("learning_curves",)
FLOOR_TASKS = 2048


@dataclass(frozen=True)
class Level:
    """A line to compare with, for one K: mean over FLOOR_TASKS tasks and its standard error."""

    K: int
    ordered: float
    ordered_se: float
    oracle: float
    oracle_se: float


@dataclass(frozen=True)
class Run:
    """A run's name, settings and learning curve."""

    name: str
    config: RunConfig
    curve: list[dict[str, Any]]

    __repr__ = short_repr


def read_run(path: Path) -> Run:
    """Of a folder of training.train, finished or not; ValueError if it is none or has no evaluation yet."""
    try:
        config = resume_folder(path, None)
    except ConfigError as problem:
        if (path / CONFIG).exists():
            raise
        raise ValueError(f"{path}: holds no {CONFIG}; a folder of training.train is needed") from problem
    curve = learning_curve(path / METRICS)
    if not curve:
        raise ValueError(f"{path}: has no evaluation yet; train on, or lower evaluate_every")
    return Run(path.name, config, curve)


def levels(config: RunConfig, seed: int) -> list[Level]:
    """For every K of the distribution, unit covariances, N = 128."""
    found = []
    for K in config.tasks.components:
        generator = torch.Generator().manual_seed(seed)
        floor = ordered_floor(config.tasks.n_features, K, N_SAMPLES, FLOOR_TASKS, generator)
        batch = sample_tasks(config.tasks, FLOOR_TASKS, K, N_SAMPLES, generator, dtype=torch.float64)
        result = em(batch.X, init=batch.truth, tol=1e-6, max_iter=1000)
        total = errors(result.mixture, batch.truth).total
        spread = float(total.std() / FLOOR_TASKS**0.5)
        found.append(Level(K, floor.aligned, floor.aligned_se, float(total.mean()), spread))
    return found


def picture(runs: list[Run], against: list[Level]) -> Picture:
    """One row of panels for each K: the network alone, and after EM steps."""
    figure = Figure(figsize=(11, 3.6 * len(against) + 0.6), layout="constrained")
    panels = figure.subplots(len(against), 2, squeeze=False, sharey="row", sharex=True)
    for row, level in zip(panels, against, strict=True):
        titles = {"network": "network alone", "polished": "after ten EM steps"}
        for axes, (part, title) in zip(row, titles.items(), strict=True):
            for run in runs:
                steps = [line["step"] for line in run.curve]
                axes.plot(
                    steps, [line[part][str(level.K)] for line in run.curve], marker=".", label=plain(run.name)
                )
            axes.axhline(level.ordered, color="0.3", linestyle="--", label="ordered loss, labels told")
            axes.axhline(level.oracle, color="0.3", linestyle=":", label="EM from the truth")
            axes.set(yscale="log", title=f"K = {level.K}, {title}", xlabel="training step")
            axes.grid(visible=True, which="both", alpha=0.2)
        row[0].set_ylabel("mean total error")
    legend(figure, panels.flat)
    tasks = runs[0].config.tasks
    caption = (
        f"Learning curves, d = {tasks.n_features}, N = {N_SAMPLES}: mean total error after the exact "
        "alignment (baselines.metrics), of the network alone (left) and after ten EM steps from its estimate "
        f"(right), on the same tasks of each K throughout. Dashed: the minimiser of the ordered loss that is "
        f"told which point came from which component (means part); dotted: EM from the truth; both on "
        f"{FLOOR_TASKS:,} tasks. One seed a run."
    )
    return Picture(NAMES[0], caption, figure)


def draw(runs: list[Path], out: Path, seed: int) -> int:
    """Read the runs, measure the levels, draw and print; the exit code."""
    with checking_input():
        found = [read_run(path) for path in runs]
        first = found[0].config.tasks
        for run in found:
            if any("polished" not in line for line in run.curve):
                raise ValueError(f"{run.name}: has no errors after EM steps, which a curve shows")
            ours = (run.config.tasks.n_features, run.config.tasks.components, run.config.tasks.covariance)
            if ours != (first.n_features, first.components, "unit"):
                raise ValueError(f"{run.name}: has tasks of other d, K or covariance than {found[0].name}")
    settings = {"runs": [str(path) for path in runs], "seed": seed}
    check_out(out, COMMAND, NAMES, settings)
    against = levels(found[0].config, seed)
    header = (
        "run",
        "steps",
        "K",
        "network",
        "after ten EM steps",
        "ordered loss, labels told",
        "EM from truth",
    )
    rows = [
        [
            run.name,
            f"{run.curve[-1]['step']:,}",
            str(level.K),
            f"{run.curve[-1]['network'][str(level.K)]:.4f}",
            f"{run.curve[-1]['polished'][str(level.K)]:.4f}",
            f"{level.ordered:.4f} +- {level.ordered_se:.4f}",
            f"{level.oracle:.4f} +- {level.oracle_se:.4f}",
        ]
        for run in found
        for level in against
    ]
    content = {
        "seed": seed,
        "levels": [asdict(level) for level in against],
        "runs": [{"name": run.name, "config": run.config.to_dict(), "curve": run.curve} for run in found],
    }
    template = Path(__file__).with_name("curves_report.html")
    shown = [picture(found, against)]
    write_results(out, COMMAND, settings, content, shown, NAMES, template, {"header": header, "rows": rows})
    console = Console()
    print_table(console, "Mean total error at the last evaluation", header, rows)
    console.print(f"wrote {out / 'index.html'}, results.json, 1 figure", markup=False)
    return 0
