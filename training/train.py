"""Meta-train TGMM.

    python -m training.train --preset cpu-small --out runs/d8
    python -m training.train --out runs/d8 --resume
    torchrun --nproc-per-node=2 -m training.train --preset paper --out runs/paper

The folder gets config.json, metrics.jsonl, checkpoints/ and, at the end, model.safetensors with model.json. A
run killed at any moment goes on with --resume and ends with the same weights, bit for bit, on the same kind
of machine; Ctrl-C saves first. Exit codes: 0 done, 2 bad input or no way on, 130 stopped.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from console.errors import STOPPED, checking_input, run_command
from console.options import folder
from training.checkpoint import latest_checkpoint, save_model
from training.config import ConfigError, RunConfig, load_preset
from training.processes import Processes, joined
from training.recorder import Clock, Recorder
from training.run_folder import CHECKPOINTS, CONFIG, MODEL, resume_folder, start_folder
from training.tensorboard import Board, load_writer
from training.trainer import StepResult, Trainer, initial_weights

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Stop:
    """Set by Ctrl-C or SIGTERM; the step it comes in and the next are taken, then the loop ends."""

    wanted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


@contextmanager
def stopping_gently() -> Iterator[Stop]:
    """Within, SIGINT and SIGTERM are remembered instead of raised."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.command()
def main(
    out: Annotated[Path, typer.Option(parser=folder, help="folder of the run")],
    preset: Annotated[str | None, typer.Option(help="name of a preset, or a .toml file")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="also write TensorBoard events")] = False,
) -> int:
    """Train by a preset; see the module's docstring."""
    with checking_input():
        if preset is None and not resume:
            raise ValueError("--preset is missing; name one, or --resume a run")
        config = None if preset is None else load_preset(preset)
        if config is not None and config.training.init and not resume:
            initial_weights(config)  # a model that is missing is said before the folder is made
        writer = load_writer() if tensorboard else None
        with joined(device) as processes:
            if resume:
                config = resume_folder(out, config)
            elif processes.first and config is not None:
                start_folder(out, config)
            processes.wait()
            if config is None:
                raise ValueError("--preset is missing; name one, or --resume a run")
            return train(config, out, processes, writer)


def train(
    config: RunConfig, out: Path, processes: Processes, writer: Callable[..., Any] | None = None
) -> int:
    """Run the steps that are left and save the model; 0 done, 130 stopped. `writer` is that of load_writer.

    Raises ValueError (one line) when a checkpoint cannot be read or written or the loss is not finite.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    trainer = Trainer(config, processes)
    console = Console(stderr=True, quiet=not processes.first, soft_wrap=True, markup=False)
    found = latest_checkpoint(out / CHECKPOINTS, lambda line: console.print(line, style="yellow"))
    clock = Clock()
    if found is not None:
        if RunConfig.from_dict(found.meta["config"]) != config:
            raise ConfigError(f"{found.path}: is a checkpoint of other settings than {out / CONFIG}")
        trainer.restore(found.step, found.tensors)
        clock = Clock(**found.meta["clock"])
        console.print(f"resuming {out} at step {found.step:,}")
    else:
        trainer.begin()
    board = Board(out, writer, trainer.step) if writer and processes.first else None
    recorder = Recorder(out, trainer, clock, board) if processes.first else None
    try:
        with stopping_gently() as stop, _bar(console, trainer) as advance:
            stopped = False
            while trainer.step < config.training.steps and not stopped:
                result = trainer.take_step(stop.wanted)
                stopped = result.stop and trainer.step < config.training.steps
                advance(result)
                if recorder is not None:
                    recorder.after(result)
            if recorder is not None:
                recorder.save()
        processes.wait()
    finally:
        if recorder is not None:
            recorder.metrics.close()
        if board is not None:
            board.close()
    if stopped:
        console.print(f"stopped at step {trainer.step:,}; --resume goes on")
        return STOPPED
    if recorder is not None:
        save_model(out / MODEL, trainer.model.state_dict(), config.to_dict()["model"], recorder.facts())
        console.print(f"wrote {out / MODEL}")
    return 0


@contextmanager
def _bar(console: Console, trainer: Trainer) -> Iterator[Callable[[StepResult], None]]:
    """A progress bar with the loss (an average that forgets over about 50 steps) and steps a second."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[pace]} steps/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        bar = shown.add_task(
            "", total=trainer.config.training.steps, completed=trainer.step, loss="-", pace="-"
        )
        started, first, smooth = time.perf_counter(), trainer.step, 0.0

        def advance(result: StepResult) -> None:
            nonlocal smooth
            taken = trainer.step - first
            smooth += (result.loss - smooth) * max(0.02, 1 / taken)
            pace = taken / (time.perf_counter() - started)
            shown.update(bar, completed=trainer.step, loss=f"{smooth:.4f}", pace=f"{pace:.2f}")

        yield advance


if __name__ == "__main__":
    sys.exit(run_command(app))
