"""How far the paper's read-out may be from the state of the last step that it pools."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from constructions.em.unit import EMConstruction
from constructions.language.readout import SHARPNESS
from constructions.language.rounding import gamma, number, unit_roundoff
from constructions.language.shown import short_repr


class ReadOutBound(NamedTuple):
    """On every coordinate of a mean, and on every weight."""

    mean: Tensor
    weight: Tensor

    __repr__ = short_repr


def read_out_bound(
    em: EMConstruction, samples: int, components: int, dtype: torch.dtype = torch.float64
) -> ReadOutBound:
    """``2 R (N e^-beta + gamma_(4N + 10))``, and ``tanh((e + 2 l) / 4) + gamma_(4K + 10)``.

    Each pooled number is an average of N values at most R in size: leakage, then rounding of the sum. log pi
    is pooled too, to l, with ``log floor`` the largest value; e is the error of its chords. softmax turns an
    error x of its logits into ``tanh(x / 2)``.
    """
    u, leaked = unit_roundoff(dtype), samples * number(-SHARPNESS).exp()
    mean = 2 * em.radius * (leaked + gamma(4 * samples + 10, u))
    chord = em.log_pi.error + 2 * em.log_pi.rounding_error(dtype)
    logs = -2 * number(em.floor).log() * (leaked + gamma(4 * samples + 10 + components, u))
    return ReadOutBound(mean, torch.tanh((chord + 2 * logs) / 4) + gamma(4 * components + 10, u))
