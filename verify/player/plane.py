"""Where points are drawn: one or two coordinates as they are, of more the first two principal axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

HEIGHT = 0.35
"""Half the height, in widths of the data, over which points of a line are spread."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture of points of d coordinates.

    Attributes:
        axes: what the two directions are called. note: a sentence on how the points came there; "" of d = 2.
        centre, directions: (d,), (d, 2): x is drawn at ``(x - centre) directions + shift``. shift: (2,).
    """

    axes: tuple[str, str]
    note: str
    centre: Tensor
    directions: Tensor
    shift: Tensor

    def places(self, X: Tensor) -> Tensor:
        """(..., 2) of (..., d)."""
        return (X.double() - self.centre) @ self.directions + self.shift


def plane_of(X: Tensor, names: Sequence[str], moved: Tensor) -> Plane:
    """For points (N, d) in columns of these names, from which ``moved`` (d,) was subtracted before."""
    X, d = X.double(), X.shape[1]
    if d <= 2:
        directions = torch.eye(d, 2, dtype=torch.float64)
        shift = moved.double() @ directions
        if d == 2:
            return Plane((names[0], names[1]), "", torch.zeros_like(moved), directions, shift)
        note = (
            "The data have one coordinate; the height of a point is the place of its token and says nothing."
        )
        return Plane((names[0], "token (no coordinate)"), note, torch.zeros_like(moved), directions, shift)
    centre = X.mean(0)
    _, sizes, axes = torch.linalg.svd(X - centre, full_matrices=False)
    two = axes[:2] if len(axes) > 1 else torch.cat([axes, torch.zeros_like(axes)])
    largest = two.gather(1, two.abs().argmax(1, keepdim=True))
    directions = (two * torch.where(largest < 0, -1.0, 1.0)).mT
    share = float(sizes[:2].square().sum() / sizes.square().sum()) if bool(sizes.any()) else 0.0
    note = (
        f"The points have {d} coordinates and are drawn in their first two principal axes, which hold "
        f"{100 * share:.1f} % of their variance; distances in the picture are smaller than in the data."
    )
    return Plane(("first principal axis", "second principal axis"), note, centre, directions, torch.zeros(2))


def spread_heights(places: Tensor) -> Tensor:
    """Places (N, 2) of points of a line with heights by their numbers, so that they can be told apart."""
    width = float(places[:, 0].max() - places[:, 0].min()) or 1.0
    # The golden ratio's multiples, modulo 1: neighbours in number are far from one another in height.
    turns = torch.arange(len(places), dtype=torch.float64) * 0.6180339887498949 % 1
    return torch.stack([places[:, 0], (2 * turns - 1) * HEIGHT * width], 1)
