"""How far a tensor power construction can be from the exact iteration: one step, and L steps.

For every construction the heads write ``w`` with ``|w_i - T(I, v, v)_i| <= E_i`` (rounding alone for ReLU
heads, approximation as well for softmax heads). From there:

* plain: ``e_{t+1} = E + |T|(I, |v|, e) + |T|(I, e, |v|) + |T|(I, e, e)``, entry by entry, or
  ``|e_{t+1}| = |E| + |A| |e| + tau |e|^2`` with A and tau below, whichever is smaller;
* normalised: only the direction of the state matters, since ``T(I, c v, c v)`` is parallel to
  ``T(I, v, v)``. With x = T(I, v, v), P the projection off x, ``A = T(I, ., v) + T(I, v, .)`` and tau the
  spectral norm of the d x d^2 unfolding, all at the constructed v scaled to length 1, a direction error eta
  becomes at most

      turned_within(x, E) + (|P A| eta + tau eta^2) / (|x| - |x^T A| / |x| eta - tau eta^2)

  where the denominator is positive, and the length adds its own error. The first term, from
  constructions.tensor_power.direction, is at most ``2 |E| / (2 |x| - |E|)``; where the heads' error is known
  up to a width, it is that of ``direction_error`` if less.

Proofs: paper_notes/theorem_2_tensor_power.md, lemmas 1 to 5.

All values are evaluated in float64, or in intervals or balls (verify.intervals, verify.balls), which enclose
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import (
    above,
    below,
    gamma,
    number,
    remembered,
    unit_roundoff,
)
from constructions.language.shown import short_repr
from constructions.tensor_power.direction import Signed, direction_error, euclidean, ratio, turned_within

OFFSET_ROUNDS = 60
"""How often :func:`required_offset` raises an offset before it gives up."""

MOST_AT_ONCE = 2**22
"""Entries of T, repeated for the steps that are evaluated together: 32 MB in float64."""


def contract(T: Tensor, v: Tensor) -> Tensor:
    """``T(I, v, v)_i = sum_jm T_ijm v_j v_m``: (B, d, d, d), (B, d) -> (B, d)."""
    return torch.einsum("bijm,bj,bm->bi", T, v, v)


def derivative(T: Tensor, v: Tensor) -> Tensor:
    """``A = T(I, ., v) + T(I, v, .)``, the derivative of ``T(I, v, v)`` in v: (B, d, d)."""
    return torch.einsum("bijm,bm->bij", T, v) + torch.einsum("bijm,bj->bim", T, v)


def natural_scale(T: Tensor, v: Tensor) -> Tensor:
    """``sum_jm |T_ijm v_j v_m|``, (B, d): what rounding is measured against, term by term."""
    return contract(T.abs(), v.abs())


@dataclass(frozen=True, eq=False)
class StepError:
    """Errors of one step from the state v.

    Attributes:
        heads: (B, d) bound E on the error of what the heads write, before a norm.
        entries: relative error of each entry made after it (norm, scaling).
        length: (B,) bound on ``| |v| - 1 |`` after the norm; 0 where there is none.
        exact, run: the heads' error where it is known up to a width, in real arithmetic, and what rounding
            adds; see :func:`constructions.tensor_power.direction.direction_error`.
    """

    heads: Tensor
    entries: float
    length: Tensor
    exact: Signed | None = None
    run: Signed | None = None

    __repr__ = short_repr

    def by_step(self, count: int) -> list[StepError]:
        """Errors of ``B count`` rows, ordered as by :func:`for_each_step`: for every step those of B rows."""

        def parts(x: Tensor) -> tuple[Tensor, ...]:
            return tuple(x.unflatten(0, (-1, count)).unbind(1))

        def signed(x: Signed | None) -> list[Signed | None]:
            if x is None:
                return [None] * count
            return list(map(Signed, parts(x.middle), parts(x.width)))

        each = zip(parts(self.heads), parts(self.length), signed(self.exact), signed(self.run), strict=True)
        return [StepError(heads, self.entries, length, *known) for heads, length, *known in each]


@dataclass(frozen=True, eq=False)
class PathBound:
    """Bounds along a run.

    Attributes:
        error: (B, L + 1) bound on the Euclidean distance of each vector of the run from the exact iteration
            (real arithmetic, the same start); inf where nothing is claimed.
        entries: (B, L + 1, d) bound on each entry; for the plain iteration sharper than ``error``.
        one_step: (B, L) bound on the error of each step alone, from the state it started in.
    """

    error: Tensor
    entries: Tensor
    one_step: Tensor

    __repr__ = short_repr


def pair_rounding(T: Tensor, v: Tensor, tokens: int, max_dim: int, dtype: torch.dtype) -> Tensor:
    """E of 2 d0 ReLU heads, (B, d).

    Each of the d^2 terms ``T_ijm (v_m s_j)`` passes two products, a sum over the tokens and a sum over the
    heads; every other number met is an exact 0 or 1, and a key is open in one head of a pair only. Attention
    that divides by N, and tokens that hold N v_j, add at most six roundings more. So
    ``E = gamma_{n + 2 d0 + 8} sum_jm |T_ijm v_j v_m|`` and underflow of each product.
    """
    u = unit_roundoff(dtype)
    return gamma(tokens + 2 * max_dim + 8, u) * natural_scale(T, v) + _underflow(T, v, dtype)


def offset_rounding(
    T: Tensor, v: Tensor, offset: float, tokens: int, max_dim: int, dtype: torch.dtype
) -> Tensor:
    """E of d0 + 1 ReLU heads: ``gamma_{n + 2 d0 + 12} sum_jm |T_ijm| (|v_j v_m| + 2 B)``.

    ``fl(v_m s_j + B)`` carries B's rounding, B more is subtracted by the last head, whose value
    ``sum_m T_ijm`` was summed beforehand.
    """
    u = unit_roundoff(dtype)
    scale = natural_scale(T, v) + 2 * offset * T.abs().sum((2, 3))
    return gamma(tokens + 2 * max_dim + 12, u) * scale + (1 + number(offset)) * _underflow(T, v, dtype)


def _underflow(T: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, d): three kinds of products that may lose less than the smallest normal number each.

    ``v_m s_j``, which T_ijm multiplies; that times T_ijm, and sums of these; and ``T_ijm / N``, which
    ``N v_m v_j`` multiplies.
    """
    d = T.shape[1]
    products = v.abs().sum(-1, keepdim=True).square()
    return torch.finfo(dtype).tiny * (T.abs().sum((2, 3)) + 2 * d**2 + d * products)


def norm_resolved(norm: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Whether ``|w|^2`` is so large that squares which underflow stay below its rounding, (B,)."""
    return below(norm.square()) >= dim * torch.finfo(dtype).tiny / unit_roundoff(dtype)


def rms_entries(dim: int, dtype: torch.dtype) -> float:
    """Relative error of each entry of an RMS norm: squares, their sum, mean, 1/sqrt (2 ulp), gain, products.

    The sum of d squares has the relative error gamma_d, halved by the square root; the zeros of the other
    columns are exact. ``gamma_{d + 10}`` covers these.
    """
    return gamma(dim + 10, unit_roundoff(dtype))


def relative_chord_error(f: PiecewiseLinear) -> Tensor:
    """``max_x f(x) sqrt(x) - 1`` over the domain, for f the chords of 1/sqrt: at least 0, since it is convex.

    On a chord ``alpha + beta x`` the product's derivative ``alpha/(2 sqrt x) + 3/2 beta sqrt x`` vanishes at
    ``x = -alpha / (3 beta)``, where it is largest.
    """
    return remembered(f, "relative error", _relative_chord_error)


def _relative_chord_error(f: PiecewiseLinear) -> Tensor:
    knots, values, beta = _chords(f)
    alpha = values[:-1] - beta * knots[:-1]
    at = torch.minimum(torch.maximum(-alpha / (3 * beta), knots[:-1]), knots[1:])
    return ((alpha + beta * at) * at.sqrt()).amax() - 1


def _chords(f: PiecewiseLinear) -> tuple[Tensor, Tensor, Tensor]:
    """Knots, values and slopes."""
    knots, values = torch.as_tensor(f.knots), torch.as_tensor(f.values)
    return knots, values, (values[1:] - values[:-1]) / (knots[1:] - knots[:-1])


def _steepest(f: PiecewiseLinear) -> Tensor:
    knots, values, slopes = _chords(f)
    return (-slopes * knots[1:] / values[1:]).amax()


def piecewise_length_error(
    f: PiecewiseLinear, norm: Tensor, error: Tensor, dim: int, dtype: torch.dtype
) -> Tensor:
    """Bound on ``| |v| - 1 |`` for ``v = r w``, ``r = f(|w|^2)`` computed in ``dtype``, (B,).

    Chord error, rounding of the square (through the steepest relative slope of f), of f, and of the product.
    The rounding of f grows towards small arguments, so it is taken at the least |w| that is possible.

    Args:
        f: the chords of 1/sqrt. norm: (B,) |T(I, v, v)|. error: (B,) bound on the distance of w from it.
    """
    u = unit_roundoff(dtype)
    chord = relative_chord_error(f)
    steepest = remembered(f, "steepest", _steepest)
    least, most = f.domain
    smallest = torch.maximum(norm - error, torch.zeros_like(norm)).square().clamp(least, most)
    rounding = f.rounding_error_at(dtype, smallest)
    argument = gamma(dim + 6, u)
    largest = norm + error
    return chord + (1 + chord) * torch.expm1(2 * steepest * argument) + rounding * largest + gamma(6, u)


def path_bound(T: Tensor, path: Tensor, steps: list[StepError], normalised: bool) -> PathBound:
    """Bounds on a run from its step errors.

    Args:
        T: (B, d, d, d) float64. path: (B, L + 1, d) the vectors of the run, float64.
        steps: the error of every step, from the state that the run was in.
        normalised: whether each step divides by the length.
    """
    T = T.expand(len(path), -1, -1, -1)
    return _normalised_path(T, path, steps) if normalised else _plain_path(T, path, steps)


def _plain_path(T: Tensor, path: Tensor, steps: list[StepError]) -> PathBound:
    size = T.abs()
    tau = torch.linalg.matrix_norm(T.flatten(2), ord=2)
    found = [_slopes(T, path[:, part]) for part in steps_at_once(T, len(steps))]
    slopes, steepness = (torch.cat(parts, 1).unbind(1) for parts in zip(*found, strict=True))
    alone = euclidean(torch.stack([step.heads for step in steps], 1))
    entries, error = [torch.zeros_like(path[:, 0])], [torch.zeros_like(path[:, 0, 0])]
    each = zip(steps, alone.unbind(1), slopes, steepness, strict=True)
    for step, length, slope, steep in each:
        own, e, distance = step.heads, entries[-1], error[-1]
        carried = torch.einsum("bij,bj->bi", slope, e) + contract(size, e)
        together = length + steep * distance + tau * distance.square()
        # Either recursion bounds the error, so the smaller one does, and each entry is below the length.
        error.append(above(torch.minimum(together, euclidean(own + carried))))
        entries.append(above(torch.minimum(own + carried, error[-1][:, None])))
    return PathBound(torch.stack(error, 1), torch.stack(entries, 1), alone)


def _slopes(T: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of ``|T|(I, v, v)`` at ``|v|`` (B, L, d, d), and the spectral norm of A at v (B, L)."""
    T, v, (tasks, count) = for_each_step(T, states.shape[1]), states.flatten(0, 1), states.shape[:2]
    steepness = torch.linalg.matrix_norm(derivative(T, v), ord=2)
    return (
        derivative(T.abs(), v.abs()).unflatten(0, (tasks, count)),
        steepness.unflatten(0, (tasks, count)),
    )


def _normalised_path(T: Tensor, path: Tensor, steps: list[StepError]) -> PathBound:
    tau = torch.linalg.matrix_norm(T.flatten(2), ord=2)
    found = [_turns(T, path[:, part], steps[part]) for part in steps_at_once(T, len(steps))]
    own, sizes, alongs, acrosses = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    direction = [torch.zeros_like(path[:, 0, 0])]
    error = [direction[0]]
    each = zip(steps, own.unbind(1), sizes.unbind(1), alongs.unbind(1), acrosses.unbind(1), strict=True)
    for step, turn, size, along, across in each:
        eta = direction[-1]
        curved = tau * eta.square()
        carried = ratio(across * eta + curved, size - along * eta - curved)
        direction.append(above(turn + carried))
        error.append(direction[-1] + step.length)
    whole = torch.stack(error, 1)
    lengths = torch.stack([step.length for step in steps], 1)
    return PathBound(whole, whole[:, :, None].expand_as(path), own + lengths)


def _turns(T: Tensor, states: Tensor, steps: list[StepError]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What each step turns by itself, |x|, ``|x^T A| / |x|`` and |P A|, all (B, L)."""
    T, (tasks, count) = for_each_step(T, states.shape[1]), states.shape[:2]
    states = states.flatten(0, 1)
    scale = euclidean(states)[:, None]
    v = states / scale
    x = contract(T, v)
    size = euclidean(x)
    own = turned_within(x, _of_steps([step.heads for step in steps]) / scale.square())
    exact, run = (_signed_of_steps(parts) for parts in zip(*((s.exact, s.run) for s in steps), strict=True))
    if exact is not None:
        own = torch.minimum(own, direction_error(x, exact, run, scale.square()))
    entries = torch.tensor([step.entries for step in steps], dtype=torch.float64)
    own = own.unflatten(0, (tasks, count)) + ratio(2 * entries, 2 - entries)
    A = derivative(T, v)
    unit = torch.where(below(size)[:, None] > 0, x / size[:, None], 0.0)
    along = torch.einsum("bi,bij->bj", unit, A)
    across = torch.linalg.matrix_norm(A - unit[:, :, None] * along[:, None, :], ord=2)
    size, along, across = (part.unflatten(0, (tasks, count)) for part in (size, euclidean(along), across))
    return own, size, along, across


def _of_steps(parts: list[Tensor]) -> Tensor:
    """(B, d) of every step -> (B L, d), as :func:`for_each_step` orders T."""
    return torch.stack(parts, 1).flatten(0, 1)


def _signed_of_steps(parts: tuple[Signed | None, ...]) -> Signed | None:
    """The same; None where it is not known of every step."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Signed(_of_steps([part.middle for part in known]), _of_steps([part.width for part in known]))


def steps_at_once(T: Tensor, count: int) -> list[slice]:
    """Steps to be evaluated in one call: all of ``count``, or fewer where T of each takes much memory."""
    size = max(1, MOST_AT_ONCE // max(1, T.numel()))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def for_each_step(T: Tensor, count: int) -> Tensor:
    """T (B, d, d, d) of each task for each of its ``count`` steps in turn, (B count, d, d, d)."""
    return T[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)


def reference_steps(T: Tensor, path: Tensor, normalised: bool) -> list[StepError]:
    """Step errors of an ordinary float64 evaluation: a sum of d^2 terms of two products, then the length."""
    d, u, count = T.shape[1], unit_roundoff(torch.float64), path.shape[1] - 1
    after = gamma(d + 6, u) if normalised else 0.0
    T, length = T.expand(len(path), -1, -1, -1), torch.full_like(path[:, 0, 0], after)
    found: list[Tensor] = []
    for part in steps_at_once(T, count):
        states = path[:, part]
        each, v = for_each_step(T, states.shape[1]), states.flatten(0, 1)
        heads = gamma(d * d + 4, u) * natural_scale(each, v) + _underflow(each, v, torch.float64)
        found.extend(heads.unflatten(0, states.shape[:2]).unbind(1))
    return [StepError(heads, after, length) for heads in found]


def reference_bound(T: Tensor, path: Tensor, normalised: bool) -> PathBound:
    """How far a ``path`` that was computed in float64 may be from the exact one, rounding alone."""
    return path_bound(T, path, reference_steps(T, path, normalised), normalised)


def required_offset(
    T: Tensor,
    v: Tensor,
    steps: int,
    normalised: bool,
    divide_by_tokens: bool = False,
    dtype: torch.dtype = torch.float64,
) -> float:
    """An offset B that suffices for ``steps`` steps of one tensor: at least ``|v_m s_j|`` in every one.

    Normalised: ``max(|v_0|_inf, 1)^2``, with a little room for rounding. Plain: the largest
    ``(|v_t|_inf + e_t)^2`` along the path, e_t the bound on the error of a run with offset B. It depends on
    B, which is raised until it suffices: then, by induction, every product is below B. Times d where the
    attention divides by the number of tokens.

    Args:
        T: (d, d, d). v: (d,), float64. dtype: in which the layers run.

    Raises:
        HypothesisError: the rounding of an offset that large drowns the earlier steps, so that none suffices;
            a tensor that is not cubic, or a value that is not finite.
    """
    if T.dim() != 3 or T.shape != (len(v),) * 3 or not bool(T.isfinite().all() and v.isfinite().all()):
        raise HypothesisError(
            f"T {tuple(T.shape)} and v {tuple(v.shape)} must be (d, d, d) and (d,), and finite"
        )
    tokens = len(v) if divide_by_tokens else 1
    room = 1 + gamma(8 * len(v) + 40, unit_roundoff(dtype))
    if normalised:
        largest = max(1.0, float(v.abs().max()))
        return room * tokens * largest * largest
    path = [v[None]]
    for _ in range(steps - 1):
        path.append(contract(T[None], path[-1]))
    states = torch.stack(path, 1)
    sizes = states[0].abs().amax(-1)
    offset = room * float(sizes.max()) * float(sizes.max())
    for _ in range(OFFSET_ROUNDS if steps > 1 else 0):
        # Products of the run are below B, as the induction assumes: 1.5 B covers |v_j v_m| + 2 B in E. The
        # states themselves are off by the rounding of this evaluation, which is added to E.
        run = offset_rounding(T[None], torch.zeros_like(v[None]), 1.5 * offset, len(v), len(v), dtype)
        errors = [
            StepError(run + own.heads, 0.0, own.length) for own in reference_steps(T[None], states, False)
        ]
        most = float((sizes + path_bound(T[None], states, errors, False).error[0]).max())
        needed = room * most * most
        if needed <= offset:
            return tokens * offset
        offset = needed * (1 + 1e-3)
        if not math.isfinite(offset):
            break
    if steps == 1:
        return tokens * offset
    raise HypothesisError(
        f"no offset suffices for {steps} plain steps in {dtype}: covering |v| = {float(sizes.max()):.3g}, it "
        "drowns the steps before; use pairs of heads, normalise, or take fewer steps"
    )
