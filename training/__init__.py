"""The learned model: tasks, TGMM, losses, trainer, evaluation, estimator."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from console.starting import answer_early_stops

if TYPE_CHECKING:
    from training.serving.estimator import TGMMMixture
    from training.serving.loading import load_tgmm

__all__ = ["TGMMMixture", "load_tgmm"]

answer_early_stops()

_PLACES = {"TGMMMixture": "training.serving.estimator", "load_tgmm": "training.serving.loading"}


def __getattr__(name: str) -> Any:
    """TGMMMixture and load_tgmm are loaded when they are asked for: every command passes through here."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
