"""The folder of a training run: config.json, metrics.jsonl, checkpoints/, at the end model.safetensors."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.trainer.config import ConfigError, RunConfig

CONFIG, METRICS, CHECKPOINTS, MODEL = "config.json", "metrics.jsonl", "checkpoints", "model.safetensors"


def start_folder(out: Path, config: RunConfig) -> None:
    """Make the folder of a new run; ConfigError when it cannot be written or holds a run, or parts of one."""
    checkpoints = out / CHECKPOINTS
    try:
        there = [name for name in (CONFIG, METRICS, MODEL) if (out / name).exists()]
        if checkpoints.is_dir() and any(checkpoints.iterdir()):
            there.append(CHECKPOINTS)
        if there:
            raise ConfigError(
                f"--out {out}: holds a run already ({', '.join(there)}); "
                "give --resume to go on, or name another folder"
            )
        checkpoints.mkdir(parents=True, exist_ok=True)
        _write(out / CONFIG, json.dumps(config.to_dict(), indent=1) + "\n")
    except OSError as problem:
        raise ConfigError(
            f"--out {out}: cannot be written ({problem.strerror}); name a writable folder"
        ) from None


def resume_folder(out: Path, config: RunConfig | None) -> RunConfig:
    """The configuration of the run in the folder; ConfigError when there is none or it is not `config`."""
    path = out / CONFIG
    try:
        found = RunConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"--out {out}: holds no run to resume; leave --resume out to start one") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ConfigError(f"{path}: is no configuration of a run ({problem})") from None
    if config is not None and config != found:
        differ = [
            f"[{section}] {key}: {old[key]!r} there, {new[key]!r} now"
            for section, new in config.to_dict().items()
            for old in [found.to_dict()[section]]
            for key in new
            if old[key] != new[key]
        ]
        raise ConfigError(f"--out {out}: holds a run of other settings ({'; '.join(differ)})")
    return found


class MetricsError(ValueError):
    """metrics.jsonl cannot be opened or written; one line says why."""


class Metrics:
    """metrics.jsonl, one JSON object a line; lines that a resumed run will write again are cut off first.

    Raises MetricsError when the file cannot be written or is shorter than `length` bytes.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        with self._writing():
            self.file = path.open("ab", buffering=0)
            there = self.length()
        if there < length:
            self.close()
            raise MetricsError(f"{path}: has {there} bytes, had {length} at the checkpoint; put it back")
        with self._writing():
            self.file.truncate(length)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; what is written survives a kill of this process."""
        rest = memoryview((json.dumps(line) + "\n").encode())
        with self._writing():
            while rest:
                rest = rest[self.file.write(rest) :]

    def length(self) -> int:
        """Bytes on disk, for the checkpoint."""
        with self._writing():
            os.fsync(self.file.fileno())
            return os.fstat(self.file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise MetricsError(
                f"{self.path}: not written ({problem.strerror}); the last checkpoint is kept; "
                "needs a writable folder with free space"
            ) from problem


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def learning_curve(metrics: Path) -> list[dict[str, Any]]:
    """One entry for each evaluation of a run: step, network, polished, and the loss logged last before it.

    Raises ValueError for a file that is missing or that training.train did not write.
    """
    try:
        lines = read_metrics(metrics)
    except (OSError, ValueError, RecursionError) as problem:
        raise ValueError(f"{metrics}: cannot be read as lines of JSON ({problem})") from None
    found, loss = [], float("nan")
    for line in lines:
        if not (isinstance(line, dict) and "step" in line and isinstance(line.get("evaluation", {}), dict)):
            raise ValueError(f"{metrics}: has a line that training.train does not write: {str(line)[:60]!r}")
        loss = line.get("loss", loss)
        if "evaluation" in line:
            found.append({"step": line["step"], "loss": loss, **line["evaluation"]})
    return found


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
