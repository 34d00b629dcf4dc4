"""What a step has to say of components that cannot be compared, or that the floor decides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.tasks import Range
from verify.em.compare import Lost, StepComparison


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
    parts = _lost("EM", step.lost, step.bound.undefined, span, "not compared")
    dying = step.bound.dying
    if bool(dying.any()):
        parts.append(
            f"{int(dying.sum())} dying component(s), W_k near N x floor: {places(dying)}; "
            "the floor holds over 1 % of its mass and can decide the error"
        )
    if path is not None:
        nothing = torch.zeros_like(path.em.empty)
        parts += _lost("EM from the same start", path.em, nothing, span, "its path ends here")
        parts += _outside("the layers", path.layers, span, "not compared after this step")
    return "; ".join(parts)


def _lost(who: str, lost: Lost, undefined: Tensor, span: Range | None, so: str) -> list[str]:
    parts, empty = [], lost.empty | undefined
    if bool(empty.any()):
        parts.append(f"{who} is 0/0 for {int(empty.sum())} component(s): {places(empty)}; {so}")
    if bool(lost.singular.any()):
        parts.append(f"{who} has {_count(lost.singular, 'a singular covariance')}; {so}")
    return parts + _outside(who, lost.outside, span, so)


def _outside(who: str, outside: Tensor, span: Range | None, so: str) -> list[str]:
    if span is None or not bool(outside.any()):
        return []
    found = _count(outside, f"an eigenvalue outside the range [{span.low:.3g}, {span.high:.3g}]")
    have = "have" if who == "the layers" else "has"
    return [f"{who} {have} {found}; {so}"]


def _count(mask: Tensor, what: str) -> str:
    return f"{what} in {int(mask.sum())} place(s): {places(mask)}"


def places(mask: Tensor) -> str:
    """The first three tasks and components of (B, K), or tasks of (B, 1), that a mask is True at."""
    found = mask.nonzero().tolist()
    named = [f"task {task} k={k}" if mask.shape[1] > 1 else f"task {task}" for task, k in found]
    return ", ".join(named[:3]) + (f", and {len(named) - 3} more" if len(named) > 3 else "")
