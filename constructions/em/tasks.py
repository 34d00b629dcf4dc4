"""Tasks handed to the EM construction: checked against its hypotheses and padded to one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr

WEIGHT_SUM_TOLERANCE = 1e-6
"""|sum of weights - 1| accepted: six typed decimals. EM does not see the factor, which is divided out."""

HYPOTHESES = (
    "points and starting means are finite, their coordinates at most the radius in size",
    "there are at least as many points as components",
    "starting weights are above the floor and sum to 1",
    "the squares of the radius stay finite in the dtype, and the floor is a normal number of it",
    "after a step a bound is claimed while all weights are above the floor and EM is defined",
)
"""Of unit covariances, in sentences; :func:`check_hypotheses` checks them."""

CovarianceType = Literal["unit", "tied_spherical", "spherical", "diagonal", "tied", "full"]
COVARIANCE_TYPES: tuple[CovarianceType, ...] = get_args(CovarianceType)
COVARIANCE_SHAPES: dict[CovarianceType, str] = {
    "tied_spherical": "",
    "spherical": "K",
    "diagonal": "Kd",
    "tied": "dd",
    "full": "Kdd",
}
"""Sizes of the covariances of one task, a letter an axis."""

Array = Tensor | NDArray[np.floating]
Tasks = Array | Sequence[Array]


class Range(NamedTuple):
    """Where the eigenvalues of covariances may lie."""

    low: float
    high: float

    def holds(self, least: Tensor, largest: Tensor) -> Tensor:
        """Whether both ends lie within; False for what is no number."""
        return (least >= self.low) & (largest <= self.high)


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """B tasks padded with zeros to common sizes.

    Attributes:
        X: (B, N, d0) points. weights: (B, K0). means: (B, K0, d0).
        n_samples, n_components, n_features: (B,) the true sizes of each task.
        single: the caller gave one task without a batch dimension.
        covariance_type: the kind of covariances.
        covariances: (B, ...) with K0 and d0 in place of K and d: COVARIANCE_SHAPES; None of unit ones.
    """

    X: Tensor
    weights: Tensor
    means: Tensor
    n_samples: Tensor
    n_components: Tensor
    n_features: Tensor
    single: bool
    covariance_type: CovarianceType = "unit"
    covariances: Tensor | None = None

    __repr__ = short_repr

    @property
    def token_mask(self) -> Tensor:
        """(B, N) bool, True at real points."""
        return torch.arange(self.X.shape[1], device=self.X.device) < self.n_samples[:, None]

    @property
    def component_mask(self) -> Tensor:
        """(B, K0) bool, True at components that the task has."""
        return torch.arange(self.weights.shape[1], device=self.X.device) < self.n_components[:, None]

    @property
    def feature_mask(self) -> Tensor:
        """(B, d0) bool, True at coordinates that the task has."""
        return torch.arange(self.X.shape[2], device=self.X.device) < self.n_features[:, None]


def gather_tasks(
    X: Tasks,
    weights: Tasks,
    means: Tasks,
    max_dim: int,
    max_components: int,
    dtype: torch.dtype,
    device: object,
    covariances: Tasks | None = None,
    covariance_type: CovarianceType = "unit",
) -> TaskBatch:
    """Pad tasks to ``(max(N), max_components, max_dim)``.

    Args:
        X: (N, d), (B, N, d), or B arrays (N_b, d_b); tensors or numpy arrays.
        weights: (K,), (B, K), or B arrays (K_b,).
        means: (K, d), (B, K, d), or B arrays (K_b, d_b).
        max_dim, max_components: d0 and K0.
        dtype, device: of the padded tensors; numbers are rounded to ``dtype`` here, once.
        covariances: shaped as COVARIANCE_SHAPES says, (B, ...), or B arrays; None of unit ones.
        covariance_type: their kind.

    Raises:
        HypothesisError: shapes that do not fit together, more than d0 columns or K0 components, too few
            points for the kind, covariances that are missing or of unit kind.
    """
    single = isinstance(X, Tensor | np.ndarray) and X.ndim == 2
    points, priors, centres = (_as_list(part, single) for part in (X, weights, means))
    if not len(points) == len(priors) == len(centres) or not points:
        raise HypothesisError(
            f"got {len(points)} data sets, {len(priors)} weights and {len(centres)} means; need one each"
        )
    for x, w, m in zip(points, priors, centres, strict=True):
        _check_shapes(x, w, m, max_dim, max_components)
    samples = max(len(x) for x in points)
    batch = len(points)
    padded = torch.zeros(batch, samples, max_dim, dtype=dtype, device=device)  # pyright: ignore[reportArgumentType]
    padded_weights = padded.new_zeros(batch, max_components)
    padded_means = padded.new_zeros(batch, max_components, max_dim)
    for i, (x, w, m) in enumerate(zip(points, priors, centres, strict=True)):
        padded[i, : x.shape[0], : x.shape[1]] = x
        padded_weights[i, : len(w)] = w
        padded_means[i, : m.shape[0], : m.shape[1]] = m

    def sizes(values: list[int]) -> Tensor:
        return torch.tensor(values, device=padded.device)

    return TaskBatch(
        padded,
        padded_weights,
        padded_means,
        sizes([len(x) for x in points]),
        sizes([len(w) for w in priors]),
        sizes([x.shape[1] for x in points]),
        single,
        covariance_type,
        _gather_covariances(points, priors, covariances, single, padded_means, covariance_type),
    )


def _gather_covariances(
    points: list[Tensor],
    priors: list[Tensor],
    given: Tasks | None,
    single: bool,
    like: Tensor,
    covariance_type: CovarianceType,
) -> Tensor | None:
    """(B, ...), zeros beyond the sizes of each task; like (B, K0, d0)."""
    if (given is None) != (covariance_type == "unit"):
        have = "none" if given is None else "covariances"
        need = "none" if covariance_type == "unit" else "those of the start"
        raise HypothesisError(f"got {have} for {covariance_type} covariances; {need} are needed")
    if given is None:
        return None
    found = _as_list(given, single)
    if len(found) != len(points):
        raise HypothesisError(f"got {len(points)} data sets and {len(found)} covariances; need one each")
    letters = COVARIANCE_SHAPES[covariance_type]
    largest = {"K": like.shape[1], "d": like.shape[2]}
    padded = like.new_zeros(len(points), *(largest[letter] for letter in letters))
    for place, (x, w, S) in enumerate(zip(points, priors, found, strict=True)):
        sizes = {"K": len(w), "d": x.shape[1]}
        shape = tuple(sizes[letter] for letter in letters)
        if tuple(S.shape) != shape:
            raise HypothesisError(
                f"{covariance_type} covariances of K = {len(w)}, d = {x.shape[1]} have shape {shape}; "
                f"got {tuple(S.shape)}"
            )
        if "dd" in letters and len(x) <= x.shape[1]:
            raise HypothesisError(
                f"got N = {len(x)} points in d = {x.shape[1]} coordinates; "
                f"{covariance_type} covariances need N > d"
            )
        padded[(place, *(slice(size) for size in shape))] = S
    return padded


def trimmed(covariances: Tensor, covariance_type: CovarianceType, components: int, features: int) -> Tensor:
    """(..., K0 and d0 by the kind) cut to ``components`` and ``features``."""
    sizes = {"K": components, "d": features}
    return covariances[(..., *(slice(sizes[letter]) for letter in COVARIANCE_SHAPES[covariance_type]))]


def spectrum(covariances: Tensor, tasks: TaskBatch, eigenvalues: Range) -> tuple[Tensor, Tensor]:
    """(B,) least and largest eigenvalue of the covariances that the tasks have; NaN where one is none.

    Computed in float64. ``eigenvalues`` are stood in for those of absent components and coordinates.
    """
    letters = COVARIANCE_SHAPES[tasks.covariance_type]
    inside, S = math.sqrt(eigenvalues.low * eigenvalues.high), covariances.to(torch.float64)
    absent = ~tasks.feature_mask
    if "dd" in letters:
        absent = absent if letters == "dd" else absent[:, None] | ~tasks.component_mask[:, :, None]
        S = S + inside * torch.diag_embed(absent.to(S))
        known = S.isfinite().flatten(-2).all(-1)
        eye = torch.eye(S.shape[-1]).to(S)
        found = torch.linalg.eigvalsh(torch.where(known[..., None, None], S, eye))
        found = torch.where(known[..., None], found, torch.nan)
    elif letters == "Kd":
        found = S.masked_fill(absent[:, None] | ~tasks.component_mask[:, :, None], inside)
    else:
        found = S.masked_fill(~tasks.component_mask, inside) if letters else S
    found = found.reshape(len(S), -1)
    return found.amin(-1), found.amax(-1)


def _as_list(part: Tasks, single: bool) -> list[Tensor]:
    try:
        return [_as_tensor(entry) for entry in ([part] if single else part)]
    except (TypeError, ValueError):
        kind = type(part).__name__
        raise HypothesisError(f"tasks are tensors, numpy arrays, or lists of them; got {kind}") from None


def _as_tensor(entry: object) -> Tensor:
    """Python numbers are float64: torch would round them to float32."""
    return torch.as_tensor(entry, dtype=None if isinstance(entry, Tensor | np.ndarray) else torch.float64)


def _check_shapes(x: Tensor, w: Tensor, m: Tensor, max_dim: int, max_components: int) -> None:
    if x.ndim != 2 or w.ndim != 1 or m.ndim != 2 or m.shape != (len(w), x.shape[1]):
        raise HypothesisError(
            f"a task has X (N, d), weights (K,), means (K, d); "
            f"got {tuple(x.shape)}, {tuple(w.shape)}, {tuple(m.shape)}"
        )
    if not 1 <= x.shape[1] <= max_dim:
        raise HypothesisError(
            f"data has d = {x.shape[1]} columns; this construction takes 1 <= d <= d0 = {max_dim}"
        )
    if not 1 <= len(w) <= max_components:
        raise HypothesisError(
            f"got K = {len(w)} components; this construction takes 1 <= K <= K0 = {max_components}"
        )
    if len(x) < len(w):
        raise HypothesisError(f"got N = {len(x)} points for K = {len(w)} components; N >= K is needed")


def largest_radius(dim: int, dtype: torch.dtype) -> float:
    """``sqrt(max / (8 d))``: up to it scores, squares and their partial sums stay finite in ``dtype``.

    A score is at most ``d R^2 + d R^2 / 2`` in size, the hidden units of ``half_norm2`` add up to at most
    ``d (2 R)^2``, and logs and counts are small beside them.
    """
    return math.sqrt(torch.finfo(dtype).max / (8 * dim))


def check_hypotheses(
    tasks: TaskBatch, radius: float, floor: float, eigenvalues: Range | None = None, refreshed: bool = False
) -> TaskBatch:
    """Refuse what the theorem does not cover; return the tasks with weights divided by their sum.

    Covariances come back symmetric: given ones may differ from their transposes by rounding, as those of
    scikit-learn do. With ``refreshed`` they are what layers left and are taken as they are.

    Raises:
        HypothesisError: a floor below the smallest normal number of the tasks' dtype; a radius whose squares
            leave that dtype; a value that is not finite; a coordinate of a point or mean beyond ``radius``;
            weights that are not above ``floor`` or do not sum to 1; covariances that are not symmetric or
            have an eigenvalue outside ``eigenvalues``.
    """
    smallest = torch.finfo(tasks.X.dtype).tiny
    if floor < smallest:
        raise HypothesisError(f"floor is {floor:g}; in {tasks.X.dtype} it must be at least {smallest:.2g}")
    widest = largest_radius(tasks.X.shape[-1], tasks.X.dtype)
    if radius > widest:
        raise HypothesisError(
            f"the radius is {radius:g}; in {tasks.X.dtype} with d0 = {tasks.X.shape[-1]} it is at most "
            f"{widest:.3g}, so that its squares stay finite"
        )
    given = [("X", tasks.X), ("weights", tasks.weights), ("means", tasks.means)]
    given += [] if tasks.covariances is None else [("covariances", tasks.covariances)]
    for name, values in given:
        if not bool(values.isfinite().all()):
            bad = values[~values.isfinite()].flatten()[0]
            raise HypothesisError(f"{name} holds {float(bad)}; every value must be finite")
    for name, values in (("point", tasks.X), ("mean", tasks.means)):
        largest = float(values.abs().max())
        if largest > radius:
            digits = next(n for n in (6, 9, 17) if f"{largest:.{n}g}" != f"{radius:.{n}g}")
            raise HypothesisError(
                f"a {name} has a coordinate of size {largest:.{digits}g}; the radius is {radius:.{digits}g}"
                + _rounded(radius, tasks.X.dtype, largest)
            )
    real = tasks.weights[tasks.component_mask]
    if bool((real <= floor).any()):
        raise HypothesisError(
            f"a weight is {float(real.min()):.6g}; weights must be above the floor {floor:g}"
        )
    total = tasks.weights.sum(-1)
    worst = total[(total - 1).abs().argmax()]
    if abs(float(worst) - 1) > WEIGHT_SUM_TOLERANCE:
        raise HypothesisError(
            f"weights sum to {float(worst):.9g}; they must sum to 1 within {WEIGHT_SUM_TOLERANCE:g}"
        )
    S = tasks.covariances
    if S is not None and eigenvalues is not None:
        S = _symmetric(S) if "dd" in COVARIANCE_SHAPES[tasks.covariance_type] and not refreshed else S
        _check_spectrum(tasks, S, eigenvalues)
    return replace(tasks, weights=tasks.weights / total[:, None], covariances=S)


def _symmetric(S: Tensor) -> Tensor:
    """(..., d, d), refused unless symmetric up to half the digits of its dtype, as in baselines.mixture."""
    apart = (S - S.mT).abs().amax((-2, -1))
    if bool((apart > torch.finfo(S.dtype).eps ** 0.5 * S.abs().amax((-2, -1))).any()):
        raise HypothesisError(f"covariances are not symmetric: entries differ by {float(apart.max()):.3g}")
    return (S + S.mT) / 2


def _check_spectrum(tasks: TaskBatch, S: Tensor, eigenvalues: Range) -> None:
    least, largest = (float(ends) for ends in _ends(spectrum(S, tasks, eigenvalues)))
    for name, value, inside in (
        ("least", least, least >= eigenvalues.low),
        ("largest", largest, largest <= eigenvalues.high),
    ):
        if not inside:
            raise HypothesisError(
                f"the {name} eigenvalue of a covariance is {value:.6g}; this construction takes those in "
                f"[{eigenvalues.low:g}, {eigenvalues.high:g}]"
            )


def _ends(found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return found[0].amin(), found[1].amax()


def _rounded(radius: float, dtype: torch.dtype, largest: float) -> str:
    """What to do where ``largest`` is beyond the radius only because ``dtype`` rounds the radius up."""
    on_the_radius = float(torch.tensor(radius, dtype=torch.float64).to(dtype))
    return f", {on_the_radius!r} in {dtype}: build with that" if largest <= on_the_radius else ""
