"""Shared by the tests of a comparison: a network as a subject, and random numbers."""

import torch
from torch import Tensor

from training.comparison.common.parts import Effort, Subject, subject_of
from training.model.tgmm import TGMM
from training.serving.loading import Released


def subject_with(model: TGMM, quick: bool = True) -> Subject:
    return subject_of(Released("tiny", model, "", {}), Effort(quick, 0, 6))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
