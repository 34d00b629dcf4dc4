"""What a step has to say of components that cannot be compared, or that the floor decides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.tasks import Range
from verify.em.compare import Lost, StepComparison

SAME_START, LAYERS = "EM from the same start", "the layers"


@dataclass(frozen=True, eq=False)
class PathLoss:
    """Where the two paths from one start end, at one step: (B, K), of tied kinds (B, 1) of covariances.

    Attributes:
        em: what EM from the same start loses at this step, of tasks that it still had.
        layers: covariances of the layers that leave the range with this step.
    """

    em: Lost
    layers: Tensor


def note(step: StepComparison, path: PathLoss | None, span: Range | None) -> str:
    """One line, empty where there is nothing to say; ``path`` and ``span`` of kinds other than unit."""
    empty = step.lost.empty | step.bound.undefined & ~step.left.any(-1, keepdim=True)
    parts = []
    if path is None or span is None:
        if bool(empty.any()):
            parts.append(f"EM is 0/0 for {int(empty.sum())} component(s): {places(empty)}; not compared")
    else:
        lost, range_ = step.lost, f"an eigenvalue outside the range [{span.low:.3g}, {span.high:.3g}]"
        parts += _said("no points (empty)", [("EM", empty), (SAME_START, path.em.empty)])
        parts += _said("a singular covariance", [("EM", lost.singular), (SAME_START, path.em.singular)])
        outside = [("EM", lost.outside), (SAME_START, path.em.outside), (LAYERS, path.layers)]
        parts += _said(range_, outside)
    if bool(step.dying.any()):
        parts.append(
            f"{int(step.dying.sum())} dying component(s), W_k near N x floor: {places(step.dying)}; "
            "the floor holds over 1 % of its mass and can decide the error"
        )
    return "; ".join(parts)


def _said(what: str, found: list[tuple[str, Tensor]]) -> list[str]:
    """One part for all who have lost the same."""
    parts = []
    for place, (who, mask) in enumerate(found):
        if not bool(mask.any()) or any(torch.equal(mask, before) for _, before in found[:place]):
            continue
        names = [who, *(name for name, other in found[place + 1 :] if torch.equal(mask, other))]
        end = "not compared" if names == ["EM"] else "not compared from here on"
        have = "has" if names in (["EM"], [SAME_START]) else "have"
        parts.append(f"{' and '.join(names)} {have} {what} at {places(mask)}; {end}")
    return parts


def places(mask: Tensor) -> str:
    """The first three tasks and components of (B, K), or tasks of (B, 1), that a mask is True at."""
    found = mask.nonzero().tolist()
    named = [f"task {task} k={k}" if mask.shape[1] > 1 else f"task {task}" for task, k in found]
    return ", ".join(named[:3]) + (f", and {len(named) - 3} more" if len(named) > 3 else "")
