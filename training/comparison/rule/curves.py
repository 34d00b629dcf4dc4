"""The functions of one number that the theorem's MLPs compute, as a network has them in place, in bins.

    log_resp     the block behind the E layer against r_ik              theorem: log r
    shares       log of how much component k is moved by point j, its largest at 0, against r_jk    log r
    log_pi       the block behind the M layer against mean_i r_ik       theorem: log pi
    half_norm2   the block behind the M layer against |mu_k|^2 / 2      theorem: the same

Both loops together. No softmax sees a shift of a whole curve: log_resp and log_pi are set to log x in the
last bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.origins.em_problem import EMProblem, Examples
from training.comparison.rule.sites import loops_of

FUNCTIONS = ("log_resp", "shares", "log_pi", "half_norm2")
BINS = 12
LEAST = 20
"""Values in a bin that is shown."""


@dataclass(frozen=True)
class Curve:
    """Means and standard deviations of y in bins of x, at the mean x of each."""

    function: str
    network: str
    x: list[float]
    y: list[float]
    spread: list[float]

    __repr__ = short_repr


def curves_of(problem: EMProblem, network: Transformer, name: str, examples: Examples) -> list[Curve]:
    """All four of one network, on tasks in its dtype."""
    s = problem.construction.stream
    found: dict[str, list[tuple[Tensor, Tensor]]] = {function: [] for function in FUNCTIONS}
    slots = torch.arange(examples.tokens.shape[1]) % problem.n_components
    for loop in loops_of(problem, network, examples.tokens):
        r = loop.responsibilities
        found["log_resp"].append((r, loop.after_e[..., s.log_resp.slice]))
        log_shares = loop.shares.log()
        found["shares"].append((r.mT, log_shares - log_shares.amax(-1, keepdim=True)))
        found["log_pi"].append((r.mean(1), loop.after_m[..., s.log_pi.slice].mean(1)))
        norms = loop.after.square().sum(-1)[:, slots] / 2
        found["half_norm2"].append((norms, loop.after_m[..., s.half_norm2.start]))
    edges = {name: torch.logspace(-4, 0, BINS + 1) for name in ("log_resp", "shares")}
    edges["log_pi"] = torch.logspace(-1.5, 0, BINS + 1)
    edges["half_norm2"] = torch.linspace(0, problem.n_features * problem.box**2 / 2, BINS + 1)
    return [_binned(function, name, parts, edges[function].double()) for function, parts in found.items()]


def _binned(function: str, network: str, parts: list[tuple[Tensor, Tensor]], edges: Tensor) -> Curve:
    x, y = (torch.cat([pair[place].flatten() for pair in parts]) for place in (0, 1))
    of_bin = torch.bucketize(x, edges)
    chosen = [of_bin == number for number in range(1, len(edges))]
    chosen = [inside for inside in chosen if int(inside.sum()) >= LEAST]
    means = [float(y[inside].mean()) for inside in chosen]
    places = [float(x[inside].mean()) for inside in chosen]
    shift = math.log(places[-1]) - means[-1] if means and function in ("log_resp", "log_pi") else 0.0
    return Curve(
        function,
        network,
        places,
        [mean + shift for mean in means],
        [float(y[inside].std()) for inside in chosen],
    )
