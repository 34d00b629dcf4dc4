"""L constructed steps beside L steps of EM, over a box: where the exact states are, and how far apart.

Two sets are carried. ``Z_t`` holds the exact states theta_t(x) for all x of the box, as functions of the same
symbols (one for each number of the box that moves); ``E_t`` the distances e_t = constructed - exact. With d_l
the error of the logits that the construction makes of its own state,

    d_l = (f_2(pi_l) - log pi_l) - sum_j (f_3(mu_lj) - mu_lj^2) / 2,        d = 0 at the first step,

a constructed step is EM from ``theta + e'``, ``e' = e + (d, 0)``, whose averages are then taken with weights
``exp f_1(w)`` in place of w. So

    e_{t+1} = EM(theta_t + e'_t) - EM(theta_t) + b_t,       b_t = Step.chord_errors
    EM(theta + e') - EM(theta) in J e',                     J over all states between (mean value theorem)

which bounds the distance itself: EM contracts the part that it inherits, and no two enclosures of nearly
equal things are subtracted. ``Z_{t+1} in EM(centre) + J (Z_t - centre) + J_x (x - centre)``, or the optimum
over the boxes of scores, coordinate by coordinate where that is narrower. On boxes so large that J says
nothing, the distance is that of two such optima, of EM's weights and of the construction's. A number common
to all d_l changes no responsibility and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions.em.unit import EMConstruction
from verify.certify.regions.box import Box
from verify.certify.regions.chords import Hinges
from verify.certify.regions.intervals import Array, Interval, concatenate, length
from verify.certify.regions.step import Step
from verify.certify.regions.zonotope import Zonotope


@dataclass(frozen=True, eq=False)
class RegionPath:
    """What holds for every task of one box.

    Attributes:
        mean, weight: (L, K) bounds on ``|mu_hat_k - mu_k|_2`` and ``|pi_hat_k - pi_k|`` after each step;
            infinite where nothing is known.
        exact, constructed: (K, 1 + d) where ``(log pi_k, mu_k)`` lies after the last step.
        influence: of each number of the box (points, weights, means), how far its interval moves the state.
    """

    mean: Array
    weight: Array
    exact: Interval
    constructed: Interval
    influence: Array


def region_path(em: EMConstruction, box: Box, steps: int) -> RegionPath:
    """Bounds for every task of ``box``, which is within the hypotheses, after each of ``steps`` steps."""
    N, d, K = box.shape
    log_resp, log_pi, square = (Hinges.of(f) for f in (em.log_resp, em.log_pi, em.square))
    centres, radius = Interval.exact(box.points.middle), box.points.radius()
    start = concatenate([box.weights.log()[:, None], box.means], 1)
    exact = _start(start, N * d)
    reachable = start
    apart = Zonotope.point(K * (1 + d))
    means, weights = [], []
    for step in range(steps):
        if step:
            errors = _logit_errors(reachable + _rows(apart.hull(), K), log_pi, square)
            apart = apart.plus_box(
                concatenate([errors[:, None], Interval.exact(np.zeros((K, d)))], 1).ravel()
            )
        drift = _rows(apart.hull(), K)
        middle = Interval.exact(exact.centre.reshape(K, 1 + d))
        # All on the segments from the middle to an exact state, and from there to the construction's.
        between = (reachable + drift.hull(Interval.exact(np.zeros(drift.shape)))).hull(middle)
        over = Step.over(box.points, between)
        by_state = over.by_state()
        by_points = over.by_points() * Interval.exact(radius.ravel()[None])
        centre = Step.over(centres, middle).after
        shifts = Zonotope(np.zeros(K * (1 + d)), exact.generators)
        exact = shifts.mapped(by_state, by_points, centre.ravel()).within(over.after.ravel())
        reachable = _rows(exact.hull(), K).intersect(over.after)
        chords = over.chord_errors(log_resp)
        new = concatenate([Interval.exact(np.zeros((K, 1))), chords], 1)
        apart = apart.mapped(by_state, box=new.ravel())
        apart = apart.within((over.constructed(log_resp) - reachable).ravel())
        found = _rows(apart.hull(), K)
        means.append(length(found[:, 1:]))
        weights.append(_weight_distance(reachable[:, 0], found[:, 0], over.after[:, 0]))
    constructed = reachable + _rows(apart.hull(), K)
    influence = np.abs(exact.generators).sum(0)
    return RegionPath(
        np.stack(means), np.stack(weights), reachable, constructed, _of_box(influence, N * d, K, d)
    )


def _start(start: Interval, shared: int) -> Zonotope:
    """The states to start from: symbols of the points first, which do not move them, then one a number."""
    own = np.diag(start.radius().ravel())
    return Zonotope(start.middle.ravel(), np.concatenate([np.zeros((len(own), shared)), own], 1))


def _rows(flat: Interval, K: int) -> Interval:
    return Interval(flat.lo.reshape(K, -1), flat.hi.reshape(K, -1))


def _logit_errors(state: Interval, log_pi: Hinges, square: Hinges) -> Interval:
    """(K,) the d_l over constructed states (K, 1 + d), without what is common to them."""
    weights = state[:, 0].exp()
    logs = log_pi.errors_on(Interval(weights.lo, np.minimum(weights.hi, 1.0)))
    squares = square.errors_on(state[:, 1:]).sum(1)
    errors = logs - squares * Interval.exact(0.5)
    return errors - Interval.exact(np.full(len(errors.lo), errors.middle.mean()))


def _weight_distance(exact: Interval, moved: Interval, either: Interval) -> Array:
    """``|pi (e^l - 1)| <= pi |l| e^|l|``, l the change of log pi; or the length of what holds both."""
    size = Interval.exact(moved.size)
    weights, both = exact.exp(), either.exp()
    near = (Interval.exact(np.minimum(weights.hi, 1.0)) * (size * size.exp())).hi
    return np.minimum(near, np.minimum((Interval.exact(both.hi) - Interval.exact(both.lo)).hi, 1.0))


def _of_box(influence: Array, shared: int, K: int, d: int) -> Array:
    """In the order of Box.ranges: the state's rows (log pi_k, mu_k) apart."""
    state = influence[shared : shared + K * (1 + d)].reshape(K, 1 + d)
    return np.concatenate([influence[:shared], state[:, 0], state[:, 1:].ravel()])
