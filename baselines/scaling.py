"""Powers of two, by which numbers are scaled without rounding."""

import torch
from torch import Tensor


def power_of_two(largest: Tensor) -> Tensor:
    """The power of two in (largest / 2, largest], by which one divides exactly; 1 for 0."""
    return torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)
