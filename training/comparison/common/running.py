"""What comparisons and studies share while they run: the command's name, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

COMMAND = "training.compare"


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch uses one thread: the tensors are small, and a second thread mostly waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
