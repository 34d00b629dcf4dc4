"""What ``python -m training.train`` does once its options are read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from console.errors import STOPPED, checking_input
from training.model.mamba import mamba2_classes
from training.trainer.changes import with_changes
from training.trainer.checkpoint import latest_checkpoint, save_model
from training.trainer.config import ConfigError, RunConfig, load_preset
from training.trainer.ending import closing_lines
from training.trainer.loop import StepGivenUp, StepResult, Trainer, initial_weights
from training.trainer.processes import Processes, joined
from training.trainer.recorder import Clock, Recorder
from training.trainer.rehearsal import rehearse
from training.trainer.run_folder import CHECKPOINTS, CONFIG, MODEL, resume_folder, start_folder
from training.trainer.tensorboard import Board, load_writer


class Stop:
    """Set by Ctrl-C or SIGTERM, which the first process answers at once.

    The step at hand is given up before its next micro-batch; of several processes it is taken, since the
    others wait for its sum.
    """

    wanted = False

    def __init__(self, first: bool) -> None:
        self.first = first

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.first and not self.wanted:
            os.write(2, b"\nstopping: a checkpoint is being saved\n")  # print may be at work already
        self.wanted = True


@contextmanager
def stopping_gently(first: bool) -> Iterator[Stop]:
    """Within, SIGINT and SIGTERM are remembered instead of raised."""
    stop = Stop(first)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_run(
    out: Path,
    preset: str | None,
    resume: bool,
    device: str,
    tensorboard: bool,
    changes: Sequence[str] = (),
) -> int:
    """Train by a preset with changes (``section.key=value``), or go on in the folder; the exit code.

    Raises:
        BadInputError: in the first process, what cannot be done.
    """
    with checking_input(), joined(device) as processes:
        with processes.together():
            config = _settings(preset, out, resume, changes)
            writer = load_writer() if tensorboard else None
        with processes.together():
            if processes.first and not resume:
                start_folder(out, config)
        try:
            return train(config, out, processes, writer)
        except ValueError as problem:  # all processes meet what a step meets: one says it
            processes.refuse(str(problem))


def _settings(preset: str | None, out: Path, resume: bool, changes: Sequence[str]) -> RunConfig:
    """Of the preset, or of the run in the folder; ValueError for none, or where what it needs is missing."""
    if changes and preset is None:
        raise ValueError(f"--set {changes[0]}: needs --preset; a run that goes on keeps its settings")
    config = None if preset is None else with_changes(load_preset(preset), changes)
    if resume:
        return resume_folder(out, config)
    if config is None:
        raise ValueError("--preset is missing; name one (--list-presets), or --resume a run")
    if config.training.init:
        initial_weights(config)  # a model that is missing is said before the folder is made
    if config.model.backbone == "mamba2":
        mamba2_classes()  # likewise
    return config


def train(
    config: RunConfig, out: Path, processes: Processes, writer: Callable[..., Any] | None = None
) -> int:
    """Run the steps that are left and save the model; 0 done, 130 stopped. `writer` is that of load_writer.

    Raises ValueError (one line) when a checkpoint cannot be read or written or the loss is not finite.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    console = Console(stderr=True, quiet=not processes.first, soft_wrap=True, markup=False)
    board = recorder = None
    try:
        with processes.together():
            trainer = Trainer(config, processes)
            clock = _restored(trainer, out, console)
            if processes.first:
                board = Board(out, writer, trainer.step) if writer else None
                recorder = Recorder(out, trainer, clock, board)
                rehearse(out, recorder)
        with stopping_gently(processes.first) as stop, _bar(console, trainer) as advance:
            stopped = False
            while trainer.step < config.training.steps and not stopped:
                try:
                    result = trainer.take_step(lambda: stop.wanted)
                except StepGivenUp:
                    stopped = True
                    break
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
        for line in closing_lines(out, config):
            console.print(line, highlight=False)
    return 0


def _restored(trainer: Trainer, out: Path, console: Console) -> Clock:
    """The clock of the newest checkpoint, which the trainer then goes on from, or a new one."""
    found = latest_checkpoint(out / CHECKPOINTS, lambda line: console.print(line, style="yellow"))
    if found is None:
        trainer.begin()
        return Clock()
    if RunConfig.from_dict(found.meta["config"]) != trainer.config:
        raise ConfigError(f"{found.path}: is a checkpoint of other settings than {out / CONFIG}")
    trainer.restore(found.step, found.tensors)
    console.print(f"resuming {out} at step {found.step:,}")
    return Clock(**found.meta["clock"])


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
