"""Has, lacks, in addition, neither: what the sizes of two blocks say, with the thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HALF = 0.5
"""A block of the theorem is there when at least this share of it is (the coefficient of the learned block
regressed on the constructed one) and the cosine of the two is at least this. A block of n entries that has
nothing to do with the theorem has a cosine of about n^-1/2: one or two entries pass by chance, which the
control shows."""

NATS = 0.1
"""A score block beyond the theorem counts from here: it moves ratios of attention weights by ten per cent."""

SHARE = 0.1
"""A value or MLP block (or, without data, a score block) beyond the theorem counts from this share of the
theorem's largest block that writes the same place, or of its largest where it writes nothing there."""

ROUNDING = 1e-9
"""Smaller than this, relative to the largest of its kind, is rounding: a block whose sum varies by less over
the tokens has one sum, a block of the theorem that is smaller is none. float64 leaves about 1e-14."""

VERDICTS = ("has", "lacks", "in addition", "neither")


@dataclass(frozen=True, eq=False)
class Products:
    """Inner products (a, b) of the blocks of a form with themselves and with the constructed ones."""

    with_itself: Tensor
    with_constructed: Tensor


def numbers(plain: dict[str, Products], weighed: dict[str, Products] | None, kind: str) -> dict[str, Any]:
    """Norms, sizes, coefficients, cosines and verdicts of one form in every network."""
    found: dict[str, Any] = {"norm": {n: _rows(_root(p.with_itself)) for n, p in plain.items()}}
    found["norm_cosine"] = {n: _rows(_cosine(p, plain["constructed"])) for n, p in plain.items()}
    if weighed is not None:
        found["size"] = {n: _rows(_root(p.with_itself)) for n, p in weighed.items()}
    products = plain if weighed is None else weighed
    base = products["constructed"]
    found["cosine"] = {n: _rows(_cosine(p, base)) for n, p in products.items()}
    found["coefficient"] = {n: _rows(p.with_constructed / base.with_itself) for n, p in products.items()}
    if weighed is None and kind == "MLP":  # plain sizes have no direction
        return found | {"verdict": {}}
    limit = _limits(_root(base.with_itself), NATS if weighed is not None and kind == "A" else None)
    found["verdict"] = {n: _verdicts(p, base, limit) for n, p in products.items() if n != "constructed"}
    return found


def _limits(sizes: Tensor, fixed: float | None) -> Tensor:
    """From where a block beyond the theorem counts."""
    if fixed is not None:
        return torch.full_like(sizes, fixed)
    largest = sizes.amax(0)
    return SHARE * torch.where(largest > 0, largest, sizes.max()).expand_as(sizes)


def _verdicts(products: Products, base: Products, limits: Tensor) -> list[list[str]]:
    cosine, sizes = _cosine(products, base), _root(products.with_itself)
    coefficient = products.with_constructed / base.with_itself
    theorem = _root(base.with_itself)
    theorem = theorem > ROUNDING * theorem.max()
    rows = []
    for a in range(len(sizes)):
        rows.append([])
        for b in range(len(sizes)):
            if theorem[a, b]:
                there = bool(coefficient[a, b] >= HALF) and bool(cosine[a, b] >= HALF)
                rows[-1].append("has" if there else "lacks")
            else:
                more = bool(sizes[a, b] > 0) and bool(sizes[a, b] >= limits[a, b])
                rows[-1].append("in addition" if more else "neither")
    return rows


def _root(squares: Tensor) -> Tensor:
    """Square roots; a sum that rounding has left below 0 is 0."""
    return torch.where(squares > 0, squares, 0.0).sqrt()


def _cosine(products: Products, base: Products) -> Tensor:
    """NaN where one of the two is 0."""
    return products.with_constructed / (_root(products.with_itself) * _root(base.with_itself))


def _rows(values: Tensor) -> list[list[float | None]]:
    return [[x if math.isfinite(x) else None for x in row] for row in values.tolist()]


def counts(layers: list[dict[str, Any]], name: str) -> dict[str, int]:
    """How often each verdict was given to a network."""
    found: dict[str, int] = dict.fromkeys(VERDICTS, 0)
    for layer in layers:
        for form in layer["forms"]:
            for row in form["verdict"].get(name, []):
                for verdict in row:
                    found[verdict] += 1
    return found
