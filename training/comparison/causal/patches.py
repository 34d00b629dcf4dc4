"""Every patch of one network at every layer, with its controls; see training.comparison.causal.patching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.metrics import errors
from console.phrases import Interval
from constructions.language.shown import short_repr
from training.comparison.causal.ablation import resume, rotation
from training.comparison.causal.patching import (
    along,
    em_from,
    estimate_values,
    fit,
    mixture_values,
    point_values,
    ratio,
    to_mixture,
    weighted_means,
)
from training.comparison.common.em_answers import AnsweredTasks, task_mean
from training.interpretability.recording import Recording, record
from training.model.estimate import Estimate
from training.model.tgmm import TGMM

MEAN_SHIFT, LOG_WEIGHT_SHIFT = 1.0, 0.3
"""Standard deviations, per coordinate, of the counterfactual change of the network's own estimate."""
EM_STEPS = (0, 1, 2, 3)


@dataclass(frozen=True)
class PatchErrors:
    """Change of the final error: an EM step's values, the decoded, its own ones; a random direction."""

    step: Interval
    decoded: Interval
    own: Interval
    random: Interval


@dataclass(frozen=True)
class PatchRow:
    """After a layer, at the component tokens or the points.

    explained      R^2 of the encoder; explained_chance: with values of others, the control.
    rank           of what is replaced.
    other, random  the fraction that arrives of another task's values, of a random direction.
    own            squared change by its own values over the squared shift.
    """

    layer: int
    explained: float
    explained_chance: float
    rank: int
    other: Interval
    random: Interval
    own: Interval


@dataclass(frozen=True)
class TokenRow(PatchRow):
    """At the component tokens; `random` turns the shift of its own estimate.

    shift          the fraction that arrives of its own estimate shifted.
    error          changes of the final error. step_gain: an EM step's values against the decoded.
    decoded_error  of what is decoded there; step_error: one EM step later.
    """

    decoded_explained: float
    shift: Interval
    error: PatchErrors
    step_gain: Interval
    decoded_error: float
    step_error: float


@dataclass(frozen=True)
class PointRow(PatchRow):
    """At the points; explained_place: R^2 from the place alone."""

    explained_place: float


@dataclass(frozen=True)
class Kept:
    """What exact EM keeps, after each of EM_STEPS, of its own estimate shifted and of another task's."""

    shift: list[Interval]
    other: list[Interval]


@dataclass(frozen=True)
class Patches:
    """At tokens after layers 1..L, at points after 1..L-1. error: the final one without a patch."""

    tokens: list[TokenRow]
    points: list[PointRow]
    em: Kept
    error: Interval

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Bench:
    """One network with what is fitted on, what is patched, and random numbers."""

    model: TGMM
    fitted: AnsweredTasks
    fitted_record: Recording
    tasks: AnsweredTasks
    recording: Recording
    generator: torch.Generator

    __repr__ = short_repr

    @property
    def n_components(self) -> int:
        """K."""
        return self.tasks.truth.n_components

    def run(self, layer: int, places: slice, replaced: Tensor) -> Estimate:
        """The estimate with the stream at `places` (B, S, D) replaced after `layer` layers."""
        state = self.recording.states[layer].clone()
        state[:, places] = replaced
        return resume(self.model, self.tasks.X, self.n_components, layer, state)


def patches(model: TGMM, fitted: AnsweredTasks, tasks: AnsweredTasks, generator: torch.Generator) -> Patches:
    """Every patch of one network."""
    K = tasks.truth.n_components
    bench = Bench(model, fitted, record(model, fitted.X, K), tasks, record(model, tasks.X, K), generator)
    own = estimate_values(bench.recording.estimate)
    noise = torch.randn(own.shape, generator=generator, dtype=torch.float64)
    scale = torch.full((own.shape[-1],), MEAN_SHIFT, dtype=torch.float64)
    scale[-1] = LOG_WEIGHT_SHIFT
    shifted = own + scale * noise
    layers = model.config.layers
    return Patches(  # in this order: both kinds of rows draw from the one generator
        tokens=[token_patches(bench, layer, own, shifted) for layer in range(1, layers + 1)],
        points=[point_patches(bench, layer, own) for layer in range(1, layers)],
        em=Kept(em_keeps(tasks, own, shifted), em_keeps(tasks, own, own.roll(1, 0))),
        error=task_mean(_error(bench.recording.estimate, tasks)),
    )


def em_keeps(tasks: AnsweredTasks, own: Tensor, put_in: Tensor) -> list[Interval]:
    """The fraction of the shift to other values that exact EM keeps after each of EM_STEPS steps."""
    t = (put_in - own)[..., :-1]
    return [
        ratio(along((em_from(tasks, put_in, s) - em_from(tasks, own, s))[..., :-1], t), along(t, t))
        for s in EM_STEPS
    ]


def token_patches(bench: Bench, layer: int, own: Tensor, shifted: Tensor) -> TokenRow:
    """At the component tokens after `layer` layers."""
    tasks, places = bench.tasks, bench.recording.read_places
    known = mixture_values(bench.fitted.in_order_of(bench.fitted_record.estimate))
    wanted = mixture_values(tasks.in_order_of(bench.recording.estimate))
    fit_states, states = (
        bench.fitted_record.states[layer][:, places],
        bench.recording.states[layer][:, places],
    )
    encoder, decoder = fit(known, fit_states, True), fit(fit_states, known, True)
    chance = fit(known.roll(1, 0), fit_states, True)
    decoded = decoder.predicted(states)
    stepped = em_from(tasks, decoded, 1)
    turn = rotation(states.shape[-1], bench.generator, torch.float64).to(states.dtype)

    def out(replaced: Tensor) -> Estimate:
        return bench.run(layer, places, replaced)

    at_own = encoder.replaced(states, own)
    by_step = encoder.replaced(states, stepped)
    base = out(at_own)
    other = own.roll(1, 0)
    t, far = (shifted - own)[..., :-1], (other - own)[..., :-1]
    turned = at_own + (encoder.replaced(states, shifted) - at_own) @ turn
    step, by_decoded = out(by_step), out(encoder.replaced(states, decoded))
    random = out(states + (by_step - states) @ turn)
    before = _error(bench.recording.estimate, tasks)
    changes = (task_mean(_error(run, tasks) - before) for run in (step, by_decoded, base, random))
    moved = (base.means - bench.recording.estimate.means).double()
    return TokenRow(
        layer=layer,
        explained=encoder.explained(wanted, states),
        explained_chance=chance.explained(wanted, states),
        decoded_explained=decoder.explained(states, wanted),
        rank=len(encoder.basis),
        shift=_arrives(out(encoder.replaced(states, shifted)), base, t),
        random=_arrives(out(turned), base, t),
        other=_arrives(out(encoder.replaced(states, other)), base, far),
        own=ratio(along(moved, moved), along(t, t)),
        error=PatchErrors(*changes),
        step_gain=task_mean(_error(step, tasks) - _error(by_decoded, tasks)),
        decoded_error=float(errors(to_mixture(decoded), tasks.truth).total.mean()),
        step_error=float(errors(to_mixture(stepped), tasks.truth).total.mean()),
    )


def point_patches(bench: Bench, layer: int, own: Tensor) -> PointRow:
    """After `layer` layers, at the points: log responsibilities of another task's mixture put in."""
    tasks, places = bench.tasks, bench.recording.point_places
    d = tasks.X.shape[-1]
    seen = bench.fitted.X
    known = point_values(seen, bench.fitted.in_order_of(bench.fitted_record.estimate))
    wanted = _beside(point_values(tasks.X, tasks.in_order_of(bench.recording.estimate)), tasks.X)
    fit_states = bench.fitted_record.states[layer][:, places]
    states = bench.recording.states[layer][:, places]
    encoder = fit(_beside(known, seen), fit_states, False, held=d)
    chance = fit(_beside(known.roll(1, 1), seen), fit_states, False, held=d)
    place = fit(seen, fit_states, False)
    u, v = (point_values(tasks.X, to_mixture(values)) for values in (own, own.roll(1, 0)))
    t = weighted_means(tasks.X, v) - weighted_means(tasks.X, u)
    turn = rotation(states.shape[-1], bench.generator, torch.float64).to(states.dtype)
    at_own = encoder.replaced(states, _beside(u, tasks.X))
    base = bench.run(layer, places, at_own)
    at_other = encoder.replaced(states, _beside(v, tasks.X))
    moved = (base.means - bench.recording.estimate.means).double()
    return PointRow(
        layer=layer,
        explained=encoder.explained(wanted, states),
        explained_chance=chance.explained(wanted, states),
        explained_place=place.explained(tasks.X, states),
        rank=len(encoder.basis),
        other=_arrives(bench.run(layer, places, at_other), base, t),
        random=_arrives(bench.run(layer, places, at_own + (at_other - at_own) @ turn), base, t),
        own=ratio(along(moved, moved), along(t, t)),
    )


def _beside(values: Tensor, X: Tensor) -> Tensor:
    return torch.cat([values, X], dim=-1)


def _arrives(run: Estimate, base: Estimate, target: Tensor) -> Interval:
    return ratio(along((run.means - base.means).double(), target), along(target, target))


def _error(estimate: Estimate, tasks: AnsweredTasks) -> Tensor:
    return errors(estimate.to_mixture(), tasks.truth).total
