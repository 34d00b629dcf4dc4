"""Tokens of slots: what each holds at the start, which hold the same, and how a state is read from them."""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.em.tasks import TaskBatch
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.stream import Block, Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Places, Tokens, Value


def slot_tokens(s: Stream, tasks: TaskBatch, log_weights: Tensor, of_slots: dict[Block, Tensor]) -> Tokens:
    """Token i carries x_i and slot i mod K; what belongs to a slot is held once for all its tokens.

    Args:
        s: the stream. tasks: B tasks, of dtype and device of the tokens.
        log_weights: (B, K0) of the weights. of_slots: further blocks, (B, width, K0) each.
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
    per_slot = {s.slot: one_hot, s.mu: tasks.means.mT, s.log_count: log_count[:, None], **of_slots}
    values = {s.x: Value(places.each, tasks.X.mT)}
    values |= {block: Value(places.same, row.to(like)[:, :, None]) for block, row in once.items()}
    values |= {block: Value(slots, numbers.to(like)) for block, numbers in per_slot.items()}
    return Tokens(s, places, values)


def start_log_weights(tasks: TaskBatch, floor: float, refreshed: PiecewiseLinear | None) -> Tensor:
    """``log pi_k`` of the start, (B, K0); with ``refreshed = log`` what an M layer would have left of pi."""
    return tasks.weights.double().clamp_min(floor).log() if refreshed is None else refreshed(tasks.weights)


def start_half_norms(tasks: TaskBatch, refreshed: PiecewiseLinear | None) -> Tensor:
    """``|mu_k|^2 / 2`` of the start, (B, K0); with ``refreshed`` as an M layer leaves it."""
    squares = tasks.means.double().square() if refreshed is None else refreshed(tasks.means)
    return squares.sum(-1) / 2


def slot_state(s: Stream, state: State, tasks: TaskBatch) -> tuple[Tensor, Tensor]:
    """Weights (B, K0) and means (B, K0, d0): token k < K holds slot k, since k mod K = k and N >= K."""
    return state.read(s.pi, first=1)[:, 0] * tasks.component_mask, of_slots(s.mu, state, tasks)


def of_slots(block: Block, state: State, tasks: TaskBatch) -> Tensor:
    """(B, K0, width) what a block holds at the tokens of each slot, 0 for absent components."""
    present = tasks.component_mask
    held = state.read(block, first=present.shape[1])
    found = held.new_zeros(*present.shape, block.width)
    found[:, : held.shape[1]] = held * present[:, : held.shape[1], None]
    return found
