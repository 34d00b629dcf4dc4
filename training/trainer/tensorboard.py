"""The lines of metrics.jsonl as TensorBoard events; needs the optional package tensorboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from console.extras import missing


def load_writer() -> Callable[..., Any]:
    """The class that writes events; ValueError when the package is not installed."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise ValueError(missing("--tensorboard", "tensorboard")) from None
    return SummaryWriter


class Board:
    """Writes events into ``out/tensorboard``; TensorBoard drops what earlier files say of the steps to come.

    Args:
        out: the folder of the run. writer: from :func:`load_writer`. step: how many steps are taken.
    """

    def __init__(self, out: Path, writer: Callable[..., Any], step: int) -> None:
        self.writer = writer(out / "tensorboard", purge_step=step + 1)

    def write(self, line: dict[str, Any]) -> None:
        """Every number of the line, nested names joined by slashes, at its step."""
        for name, value in _numbers("", line):
            if name != "step":
                self.writer.add_scalar(name, value, line["step"])
        self.writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.writer.close()


def _numbers(prefix: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _numbers(f"{prefix}/{key}".strip("/"), item)]
    return [(prefix, float(value))]
