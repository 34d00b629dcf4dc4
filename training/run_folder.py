"""The folder of a training run: config.json, metrics.jsonl, checkpoints/, at the end model.safetensors."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any, TextIO

from training.config import ConfigError, RunConfig

CONFIG, METRICS, CHECKPOINTS, MODEL = "config.json", "metrics.jsonl", "checkpoints", "model.safetensors"


def start_folder(out: Path, config: RunConfig) -> None:
    """Make the folder of a new run; ConfigError when it cannot be written or holds a run already."""
    if (out / CONFIG).exists():
        raise ConfigError(f"--out {out}: holds a run already; give --resume to go on, or name another folder")
    try:
        (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
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
    except (OSError, ValueError) as problem:
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


class Metrics:
    """metrics.jsonl, one JSON object a line; lines that a resumed run will write again are cut off first."""

    def __init__(self, path: Path, length: int) -> None:
        self.file: TextIO = path.open("a", encoding="utf-8")
        self.file.truncate(length)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; what is written survives a kill of this process."""
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def length(self) -> int:
        """Bytes on disk, for the checkpoint."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
