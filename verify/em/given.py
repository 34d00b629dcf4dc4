"""A start of EM from JSON: written by hand, or the results of an earlier run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from console.errors import BadInputError
from constructions.em.tasks import COVARIANCE_SHAPES, COVARIANCE_TYPES, CovarianceType
from verify.em.covariances import MATRICES, eigenvalue_ends, symmetric

LAYOUTS = {
    "tied_spherical": "one number",
    "spherical": "K numbers",
    "diagonal": "K rows of d",
    "tied": "d rows of d",
    "full": "K matrices of d rows of d",
}
"""Covariances of a kind in words."""

SYMMETRY = 1e-6
"""Difference of two entries, over the largest, that is taken as one of typed decimals."""


@dataclass(frozen=True, eq=False)
class Start:
    """Weights (K,), means (K, d) and covariances as the kind has them; None of unit ones."""

    weights: Tensor
    means: Tensor
    covariances: Tensor | None = None


def load_init(path: Path, kind: CovarianceType = "unit") -> Start:
    """``{"weights": [K], "means": [K][d], "covariances": ...}``; a whole results.json works too.

    Of results it takes the estimate of EM. Covariances are laid out by the kind (LAYOUTS); unit has none.

    Raises:
        BadInputError: not such a file, or covariances of another kind.
    """
    content = _read(path)
    try:
        weights = torch.tensor(content["weights"], dtype=torch.float64)
        means = torch.tensor(content["means"], dtype=torch.float64)
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadInputError(f"--init {path}: weights and means must be numbers ({problem})") from None
    for name, values in (("weights", weights), ("means", means)):
        _check_finite(path, name, values)
    if weights.ndim != 1 or means.ndim != 2 or len(weights) != len(means) or len(weights) == 0:
        shapes = f"{tuple(weights.shape)} and {tuple(means.shape)}"
        raise BadInputError(
            f"--init {path}: weights and means have shapes {shapes}; (K,) and (K, d) are needed"
        )
    return Start(weights, means, _covariances(path, content, kind, *means.shape))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise BadInputError(f"--init {path}: not a readable JSON file ({problem})") from None
    if isinstance(content, dict) and isinstance(content.get("estimates"), dict):
        content = content["estimates"].get("em")
        if content is None:
            raise BadInputError(f"--init {path}: that run ended without an estimate; name another start")
    if not isinstance(content, dict) or not {"weights", "means"} <= content.keys():
        raise BadInputError(
            f"--init {path}: needs an object with 'weights' (K numbers) and 'means' (K rows of d)"
        )
    return content


def _covariances(
    path: Path, content: dict[str, Any], kind: CovarianceType, components: int, dim: int
) -> Tensor | None:
    """Those of the file, which must be of this kind."""
    asked, given = f"--covariance {kind}: --init {path}", content.get("covariances")
    named = content.get("covariance_type", "unit" if given is None else kind)
    if named not in COVARIANCE_TYPES:
        raise BadInputError(
            f"--init {path}: covariance_type is {named!r}; it is one of {', '.join(COVARIANCE_TYPES)}"
        )
    if given is None and kind != "unit":
        raise BadInputError(f"{asked} has no 'covariances'; {kind} ones are {LAYOUTS[kind]}")
    if named != kind:
        raise BadInputError(f"{asked} has {named} covariances; give --covariance {named}, or another start")
    if given is not None and kind == "unit":
        raise BadInputError(f"{asked} has 'covariances', and unit ones have none; name their kind")
    if given is None:
        return None
    try:
        S = torch.tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, OverflowError) as problem:
        what = f"covariances must be numbers, {LAYOUTS[kind]} ({problem})"
        raise BadInputError(f"--init {path}: {what}") from None
    _check_finite(path, "covariances", S)
    shape = _shape(kind, components, dim)
    if tuple(S.shape) != shape:
        raise BadInputError(
            f"{asked} has covariances of shape {tuple(S.shape)}{_other(S, kind, components, dim)}; "
            f"{kind} ones are {LAYOUTS[kind]}: {shape}"
        )
    if kind in MATRICES:
        apart = float((S - S.mT).abs().max())
        if apart > SYMMETRY * float(S.abs().max()):
            what = f"covariances are not symmetric: entries differ by {apart:.3g}"
            raise BadInputError(f"--init {path}: {what}")
    least = float(eigenvalue_ends(symmetric(S, kind), kind)[0].min())
    if not least > 0:
        raise BadInputError(f"--init {path}: a covariance has the eigenvalue {least:.3g}; they are above 0")
    return symmetric(S, kind)


def _shape(kind: CovarianceType, components: int, dim: int) -> tuple[int, ...]:
    return tuple({"K": components, "d": dim}[letter] for letter in COVARIANCE_SHAPES[kind])


def _other(S: Tensor, kind: CovarianceType, components: int, dim: int) -> str:
    """Which other kind has covariances of this shape."""
    fits = [k for k in COVARIANCE_SHAPES if k != kind and _shape(k, components, dim) == tuple(S.shape)]
    return f", as {' or '.join(fits)} ones have" if fits else ""


def _check_finite(path: Path, name: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        bad = float(values[~values.isfinite()][0])
        raise BadInputError(f"--init {path}: {name} hold {bad}; every value must be finite")
