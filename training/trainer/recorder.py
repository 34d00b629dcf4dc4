"""What the first process of a run writes down: metrics, learning curve, checkpoints, facts of the run."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.trainer.checkpoint import save_checkpoint
from training.trainer.loop import StepResult, Trainer
from training.trainer.progress import check_progress
from training.trainer.run_folder import CHECKPOINTS, METRICS, Metrics
from training.trainer.tensorboard import Board


@dataclass
class Clock:
    """Carried from checkpoint to checkpoint.

    seconds        of training, evaluation not counted, over all parts of the run.
    loss, steps    sum of the losses since the last line of metrics, and their number.
    metrics_bytes  length of metrics.jsonl at the checkpoint.
    """

    seconds: float = 0.0
    loss: float = 0.0
    steps: int = 0
    metrics_bytes: int = 0


class Recorder:
    """Writes after each step what is due.

    Args:
        out: the folder of the run. trainer: whose state is saved. clock: of the checkpoint, or a new one.
        board: TensorBoard events, if wanted.
    """

    def __init__(self, out: Path, trainer: Trainer, clock: Clock, board: Board | None) -> None:
        self.out, self.trainer, self.clock, self.board = out, trainer, clock, board
        self.metrics = Metrics(out / METRICS, clock.metrics_bytes)
        self.ticked = self.saved = time.perf_counter()

    def after(self, result: StepResult) -> None:
        """One step has been taken."""
        training, step = self.trainer.config.training, self.trainer.step
        self.clock.loss += result.loss
        self.clock.steps += 1
        self._tick()
        if step % training.log_every == 0 or step == training.steps:
            line = {
                "step": step,
                "loss": self.clock.loss / self.clock.steps,
                "gradient_norm": result.gradient_norm,
                "learning_rate": result.learning_rate,
                "tasks": step * training.tasks_per_step,
                "seconds": round(self.clock.seconds, 3),
            }
            self.clock.loss, self.clock.steps = 0.0, 0
            self._write(line)
        if step % training.evaluate_every == 0 or step == training.steps:
            found = check_progress(self.trainer.model, self.trainer.config, training.evaluation_tasks)
            self.ticked = time.perf_counter()
            self._write({"step": step, "evaluation": found})
        if time.perf_counter() - self.saved > training.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """A checkpoint of this step; raises CheckpointError, with the one before it untouched."""
        self._tick()
        self.clock.metrics_bytes = self.metrics.length()
        meta = {"clock": asdict(self.clock), "config": self.trainer.config.to_dict()}
        save_checkpoint(self.out / CHECKPOINTS, self.trainer.step, self.trainer.state(), meta)
        self.saved = self.ticked = time.perf_counter()

    def facts(self) -> dict[str, Any]:
        """How the model was trained, as JSON values: the configuration, device, time, versions."""
        device = self.trainer.processes.device
        return {
            "config": self.trainer.config.to_dict(),
            "steps": self.trainer.step,
            "seconds": round(self.clock.seconds, 1),
            "processes": self.trainer.processes.count,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "torch": torch.__version__,
            "parameters": sum(p.numel() for p in self.trainer.model.parameters()),
        }

    def _tick(self) -> None:
        now = time.perf_counter()
        self.clock.seconds += now - self.ticked
        self.ticked = now

    def _write(self, line: dict[str, Any]) -> None:
        self.metrics.write(line)
        if self.board is not None:
            self.board.write(line)
