"""The tokens that the first layer of the EM construction sees: what each holds, and which hold the same."""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.em.tasks import TaskBatch
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.stream import Stream
from constructions.language.structured.partitions import Places, Tokens, Value


def slot_tokens(s: Stream, tasks: TaskBatch, log_weights: Tensor, half_norm2: Tensor) -> Tokens:
    """Token i carries x_i and slot i mod K; what belongs to a slot is held once for all its tokens.

    Args:
        s: the stream. tasks: B tasks, of dtype and device of the tokens.
        log_weights: (B, K0) of the weights. half_norm2: (B, K0) ``|mu_k|^2 / 2``.
    """
    K0 = s.slot.width
    index = torch.arange(tasks.X.shape[1], device=tasks.X.device)
    places = Places(tasks.token_mask)
    labels = index % tasks.n_components[:, None]
    slots = places.classes(labels, K0)
    # A slot that no token holds is that of a component which the task has not; it gets log 1.
    log_count = places.counts(labels, K0).clamp_min(1).double().log()
    like = tasks.X
    one_hot = torch.eye(K0, dtype=like.dtype, device=like.device).expand(len(like), -1, -1)
    once = {s.pi: tasks.weights, s.log_pi: log_weights, s.one: like.new_ones(len(like), 1)}
    per_slot = {
        s.slot: one_hot,
        s.mu: tasks.means.mT,
        s.half_norm2: half_norm2[:, None],
        s.log_count: log_count[:, None],
    }
    values = {s.x: Value(places.each, tasks.X.mT)}
    values |= {block: Value(places.same, row.to(like)[:, :, None]) for block, row in once.items()}
    values |= {block: Value(slots, numbers.to(like)) for block, numbers in per_slot.items()}
    return Tokens(s, places, values)


def start_functions(
    tasks: TaskBatch, floor: float, refreshed: tuple[PiecewiseLinear, PiecewiseLinear] | None
) -> tuple[Tensor, Tensor]:
    """``log pi_k`` and ``|mu_k|^2 / 2`` of the start, (B, K0) each.

    Exact, or with ``refreshed = (log, square)`` what an M layer would have left of the weights and means.
    """
    if refreshed is not None:
        log, square = refreshed
        return log(tasks.weights), square(tasks.means).sum(-1) / 2
    return tasks.weights.double().clamp_min(floor).log(), tasks.means.double().square().sum(-1) / 2
