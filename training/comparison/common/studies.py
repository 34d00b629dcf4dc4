"""Studies: questions about networks that they train themselves, so that no checkpoint is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from console.sections import Section
from training.comparison.common.parts import Start

R = TypeVar("R")


@dataclass(frozen=True)
class StudyEffort:
    """How much is computed, and by whom.

    quick  within two minutes on two cores, too little to conclude.
    seed   of every random draw.
    jobs   processes. dask: the address of a scheduler whose workers compute instead. No figure changes.
    """

    quick: bool
    seed: int
    jobs: int = 1
    dask: str | None = None


@dataclass(frozen=True)
class Study(Generic[R]):
    """One study.

    key       its name on the command line.
    title     of its page.
    question  in one sentence.
    result    the class of what is measured.
    answer    (effort, folder, start) -> the result; goes on with the pieces that are kept in the folder.
    pieces    how often `answer` calls `start`, at most.
    render    the result -> what the page shows.
    pictures  names of the pictures that `render` may make.
    """

    key: str
    title: str
    question: str
    result: type[R]
    answer: Callable[[StudyEffort, Path, Start], R]
    pieces: Callable[[StudyEffort], int]
    render: Callable[[R], Section]
    pictures: tuple[str, ...]
