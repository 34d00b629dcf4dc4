"""Has, lacks, in addition, neither: what the sizes of two blocks say, with the thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from console.typed_json import Absent, Beside, Key
from constructions.language.shown import short_repr
from training.comparison.symmetry.alignment import Distances

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

Matrix = list[list[float]]
"""Of the blocks of a form; NaN where there is none."""


@dataclass(frozen=True)
class FormNumbers:
    """Of every block of one form; keys are networks.

    norm, norm_cosine     Frobenius norms, and cosines with the construction, of the weights.
    size                  by data, where there are any.
    cosine, coefficient   with and on the construction, by data where there are any.
    verdict               of all networks but the constructed one.
    """

    norm: dict[str, Matrix]
    norm_cosine: dict[str, Matrix]
    cosine: dict[str, Matrix]
    coefficient: dict[str, Matrix]
    verdict: dict[str, list[list[str]]]
    size: Annotated[dict[str, Matrix] | None, Absent()] = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Form:
    """A, V or what the MLP does; partner: of a head, the other network's, counted from 1."""

    name: str
    kind: Literal["A", "V", "MLP"]
    numbers: Annotated[FormNumbers, Beside()]
    partner: Annotated[dict[str, int] | None, Absent()] = None

    __repr__ = short_repr


@dataclass(frozen=True)
class BlockLayer:
    """The forms of one layer, counted from 1."""

    layer: int
    forms: list[Form]

    __repr__ = short_repr


@dataclass(frozen=True)
class Counts:
    """How often each verdict was given to a network."""

    has: int
    lacks: int
    in_addition: Annotated[int, Key("in addition")]
    neither: int

    @property
    def theorem(self) -> int:
        """Blocks of the theorem."""
        return self.has + self.lacks

    @property
    def beyond(self) -> int:
        """All others."""
        return self.in_addition + self.neither


@dataclass(frozen=True)
class Thresholds:
    """HALF, NATS and SHARE."""

    half: float
    nats: float
    share: float


@dataclass(frozen=True)
class BlocksResult:
    """Every block of every layer; keys are networks.

    blocks  their names. data: whether there were tokens; tokens: how many, a layer each.
    """

    blocks: list[str]
    data: bool
    tokens: list[int] | None
    thresholds: Thresholds
    distances: dict[str, Distances]
    layers: list[BlockLayer]
    counts: dict[str, Counts]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Products:
    """Inner products (a, b) of the blocks of a form with themselves and with the constructed ones."""

    with_itself: Tensor
    with_constructed: Tensor

    __repr__ = short_repr


def numbers(
    plain: dict[str, Products], weighed: dict[str, Products] | None, kind: Literal["A", "V", "MLP"]
) -> FormNumbers:
    """Norms, sizes, coefficients, cosines and verdicts of one form in every network."""
    products = plain if weighed is None else weighed
    base = products["constructed"]
    verdict = {}
    if weighed is not None or kind != "MLP":  # plain sizes of an MLP have no direction
        limit = _limits(_root(base.with_itself), NATS if weighed is not None and kind == "A" else None)
        verdict = {n: _verdicts(p, base, limit) for n, p in products.items() if n != "constructed"}
    return FormNumbers(
        norm={n: _root(p.with_itself).tolist() for n, p in plain.items()},
        norm_cosine={n: _cosine(p, plain["constructed"]).tolist() for n, p in plain.items()},
        cosine={n: _cosine(p, base).tolist() for n, p in products.items()},
        coefficient={n: (p.with_constructed / base.with_itself).tolist() for n, p in products.items()},
        verdict=verdict,
        size=None if weighed is None else {n: _root(p.with_itself).tolist() for n, p in weighed.items()},
    )


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
    there = (coefficient >= HALF) & (cosine >= HALF)
    more = (sizes > 0) & (sizes >= limits)
    places = torch.where(theorem, torch.where(there, 0, 1), torch.where(more, 2, 3))
    return [[VERDICTS[place] for place in row] for row in places.tolist()]


def _root(squares: Tensor) -> Tensor:
    """Square roots; a sum that rounding has left below 0 is 0."""
    return torch.where(squares > 0, squares, 0.0).sqrt()


def _cosine(products: Products, base: Products) -> Tensor:
    """NaN where one of the two is 0."""
    return products.with_constructed / (_root(products.with_itself) * _root(base.with_itself))


def counts(layers: list[BlockLayer], name: str) -> Counts:
    """How often each verdict was given to a network."""
    verdicts = [
        verdict
        for layer in layers
        for form in layer.forms
        for row in form.numbers.verdict.get(name, [])
        for verdict in row
    ]
    return Counts(*map(verdicts.count, VERDICTS))
