"""Plain EM steps of many tasks at once, where one that loses a component is marked and the others go on.

This is the reference that constructed layers are compared with. The arithmetic is in baselines.em_accurate,
what rounding does to it in baselines.em_rounding.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines import gaussian
from baselines.checks import check_count, check_points, first_index
from baselines.em_accurate import Tasks, step
from baselines.em_parameters import Parameters, choose
from baselines.em_steps import Update
from baselines.shown import short_repr


class EMPath(NamedTuple):
    """States 0..L of B tasks in float64: weights (B, L + 1, K), means (B, L + 1, K, d), covariances or None.

    covariances (B, L + 1, ...) end as Mixture lays them out; None for "unit". defined (B, L) is True while no
    component has become empty or singular up to and including that step. A lost task keeps its last state.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor | None
    defined: Tensor

    __repr__ = short_repr


def reference_step(
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    covariances: Tensor | None = None,
    covariance_type: str = "unit",
    mask: Tensor | None = None,
    component_mask: Tensor | None = None,
) -> Update:
    """One float64 EM step for X (B, N, d), weights (B, K) up to a factor, means (B, K, d), covariances.

    covariances     as Mixture lays them out: full (B, K, d, d), tied (B, d, d), diagonal (B, K, d), spherical
                    (B, K), tied_spherical (B); None for "unit".
    mask            (B, N) booleans, True at real points. What X holds elsewhere is not read.
    component_mask  (B, K) booleans, True at components of the task. What the start holds elsewhere is not
                    read; an absent component comes back as 0 in weights, means and covariances, unmarked.

    A component is marked ``empty`` or ``singular`` by the definitions of `em_steps.update` instead of ending
    the batch. A start that Mixture would refuse (a weight that is not above 0, a value that is not finite, a
    covariance that is not positive definite) is no mixture: all its components come back as ``empty``. Of a
    task with a mark the means of empty components are 0, and so are all covariances and their roots.

    Rounding (`em_rounding.reference_rounding` bounds it): a share is off by about (d + 5) u |r_kn|^2 of
    itself, r the whitened difference, more for ill-conditioned matrices; for unit by (4 d + 16) u R^2,
    R the radius about the average of the means. A mean is off by what its shares are and by 2 N u times the
    spread of its own points; for the unit type times the radius of the data. A covariance is off by what its
    shares are and by 2 N u of itself, however small it is beside the radius.

    Raises ValueError where shapes do not fit, where a real point is not finite, and where a task has no real
    point or no component.
    """
    return _marked_step(*prepared(X, weights, means, covariances, covariance_type, mask, component_mask))


def reference_path(
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    steps: int,
    covariances: Tensor | None = None,
    covariance_type: str = "unit",
    mask: Tensor | None = None,
    component_mask: Tensor | None = None,
) -> EMPath:
    """The EM path of `steps` >= 0 repetitions of `reference_step`, whose arguments and errors these are.

    State 0 is the start as it is given.
    """
    check_count("steps", steps, least=0)
    X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
    covariances = None if covariances is None else covariances.to(torch.float64)
    state = Parameters(weights, means, covariances)
    path, defined = [state], [torch.ones(len(X), dtype=torch.bool, device=X.device)]
    for _ in range(steps):
        new = reference_step(X, *state[:3], covariance_type, mask, component_mask)
        defined.append(defined[-1] & ~(new.empty | new.singular).any(-1))
        # A lost task keeps its last state, so that the others can go on; it is not compared any more.
        state = state.replaced(defined[-1], Parameters(new.weights, new.means, new.covariances))
        path.append(state)
    kept = [one.covariances for one in path if one.covariances is not None]
    return EMPath(
        torch.stack([one.weights for one in path], 1),
        torch.stack([one.means for one in path], 1),
        torch.stack(kept, 1) if kept else None,
        torch.stack(defined, 1)[:, 1:],
    )


def prepared(
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    covariances: Tensor | None,
    covariance_type: str,
    mask: Tensor | None,
    component_mask: Tensor | None,
) -> tuple[Tasks, Tensor]:
    """What `reference_step` works on, and dead (B, 1): the start is no mixture and another stands for it."""
    gaussian.check_covariance_type(covariance_type)
    _check_shapes(X, weights, means, covariances, covariance_type)
    _check_mask("mask", mask, X.shape[:2])
    _check_mask("component_mask", component_mask, weights.shape)
    X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
    if mask is None:
        centre, n_points = X.mean(-2, keepdim=True), X.new_full(X.shape[:-2], X.shape[-2])
    else:
        n_points = mask.sum(-1).to(X.dtype)
        centre = torch.where(mask[..., None], X, 0.0).sum(-2, keepdim=True) / n_points[:, None, None]
        X = torch.where(mask[..., None], X, centre)
    check_points(X)
    if component_mask is not None:
        weights, means = _filled_in(weights, component_mask), _filled_in(means, component_mask)
    usable = torch.where(weights > 0, weights, torch.nan)
    proper = usable / usable.sum(-1, keepdim=True)
    known = (proper > 0).all(-1) & means.isfinite().flatten(1).all(-1)
    if covariances is not None:
        covariances = covariances.to(torch.float64)
        neutral = _neutral(covariances, covariance_type)
        if component_mask is not None and covariance_type in gaussian.BY_COMPONENT:
            covariances = _filled_in(covariances, component_mask)
        known = known & _positive_definite(covariances, neutral, covariance_type)
        covariances = choose(known, covariances, neutral)
    dead = ~known[:, None]
    weights = torch.where(dead, 1 / weights.shape[-1], proper)
    means = torch.where(dead[..., None], 0.0, means)
    tasks = Tasks(X, mask, component_mask, n_points, centre, weights, means, covariances, covariance_type)
    return tasks, dead


def _marked_step(tasks: Tasks, dead: Tensor) -> Update:
    """The step, all components of the `dead` (B, 1) starts empty, and 0 where parameters are void."""
    new, _, _ = step(tasks)
    empty = new.empty | dead
    present = torch.ones_like(empty) if tasks.present is None else tasks.present
    empty = empty & present
    singular = new.singular & ~dead
    if tasks.covariance_type in ("tied", "tied_spherical"):
        # One empty component makes the covariance of all 0/0, which says nothing of the others.
        singular = singular & ~empty.any(-1, keepdim=True)
    new = new._replace(means=torch.where(empty[..., None], 0.0, new.means), empty=empty, singular=singular)
    sound = ~(empty | singular).any(-1)
    kept = {}
    for name in ("covariances", "roots", "inverse_roots"):
        values = getattr(new, name)
        if values is not None:
            kept[name] = choose(sound, values, torch.zeros_like(values))
            if tasks.covariance_type in gaussian.BY_COMPONENT:
                own = present.reshape(*present.shape, *[1] * (values.dim() - 2))
                kept[name] = torch.where(own, kept[name], 0.0)
    return new._replace(**kept)


def _filled_in(values: Tensor, present: Tensor) -> Tensor:
    """`values` (B, K, ...), those of the first present component where one is absent."""
    first = values[torch.arange(len(values), device=values.device), present.int().argmax(-1)]
    return torch.where(present.reshape(*present.shape, *[1] * (values.dim() - 2)), values, first.unsqueeze(1))


def _neutral(covariances: Tensor, covariance_type: str) -> Tensor:
    """S = I in the layout of `covariances`."""
    if covariance_type in ("tied", "full"):
        return torch.eye(covariances.shape[-1]).to(covariances).expand_as(covariances)
    return torch.ones_like(covariances)


def _positive_definite(covariances: Tensor, neutral: Tensor, covariance_type: str) -> Tensor:
    """(B,) booleans by the rules of Mixture: finite, variances not below the smallest normal number, matrices
    symmetric within sqrt(eps) of their largest entry and with a Cholesky factor."""
    info, finite = torch.finfo(covariances.dtype), covariances.isfinite().reshape(len(covariances), -1)
    known = finite.all(-1)
    covariances = choose(known, covariances, neutral)
    if covariance_type not in ("tied", "full"):
        good = covariances >= info.tiny
    else:
        gap = (covariances - covariances.mT).abs().amax((-2, -1))
        symmetric = gap <= info.eps**0.5 * covariances.abs().amax((-2, -1))
        good = symmetric & (gaussian.covariance_roots(covariances)[1] > 0)
    return known & good.reshape(len(known), -1).all(-1)


def _check_shapes(
    X: Tensor, weights: Tensor, means: Tensor, covariances: Tensor | None, covariance_type: str
) -> None:
    if X.dim() != 3 or means.dim() != 3 or (len(X), X.shape[-1]) != (len(means), means.shape[-1]):
        raise ValueError(
            f"X and means have shapes {tuple(X.shape)}, {tuple(means.shape)}, needs (B, N, d) and (B, K, d)"
        )
    if weights.shape != means.shape[:-1]:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, needs {tuple(means.shape[:-1])} like means"
        )
    if covariance_type == "unit":
        if covariances is not None:
            raise ValueError('covariances were given, needs None for covariance_type "unit"')
        return
    expected = (len(X), *gaussian.covariance_shape(covariance_type, *means.shape[1:]))
    if covariances is None or tuple(covariances.shape) != expected:
        given = None if covariances is None else tuple(covariances.shape)
        raise ValueError(
            f"covariances have shape {given}, needs {expected} for covariance_type {covariance_type!r}"
        )


def _check_mask(name: str, mask: Tensor | None, shape: torch.Size) -> None:
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != shape:
        raise ValueError(
            f"{name} is {mask.dtype} of shape {tuple(mask.shape)}, needs booleans of shape {tuple(shape)}"
        )
    if not mask.any(-1).all():
        task = first_index(~mask.any(-1))[0]
        raise ValueError(f"{name}[{task}] is False everywhere, needs at least one True")
