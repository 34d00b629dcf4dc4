"""Powers of two, by which numbers are scaled without rounding."""

import torch
from torch import Tensor


def power_of_two(largest: Tensor) -> Tensor:
    """The power of two in (largest / 2, largest], by which one divides exactly; 1 for 0."""
    return torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)


def scaled_weights(sample_weight: Tensor) -> Tensor:
    """Weights (..., N), not all 0, divided by the power of two that makes the largest 1 to 2.

    Only ratios of weights count where this is used; sums and products then neither overflow nor vanish.
    """
    return sample_weight / power_of_two(sample_weight.amax(-1, keepdim=True))
