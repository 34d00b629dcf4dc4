"""Theorem 2 as an identity: one step of the compiled weights, for all real T and v at once.

The weights are exact rationals, T and v are symbols. A step must turn the tokens of (T, v) into the tokens of
(T, T(I, v, v)), every entry of every token, so that by induction L steps do the iteration. Two routes that
share no algebra:

* at once: ``relu(a) = (a + |a|) / 2`` in the dense matrices, nothing used of |.| but ``|-a| = |a|``; that no
  |.| is left covers every case of signs;
* by signs: for each of the ``4^d`` sign patterns of v and ``w = T(I, v, v)`` the exact evaluator runs on
  polynomials, and relu(a) is a or 0 by the signs of the ``v_m v_j``, v_j and w_j. A zero belongs to both.

Shifted heads use the theorem's hypothesis, and no more: ``relu(a + B) = a + B`` for ``a = v_m s_j``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import sympy as sp
from sympy.polys.domains import QQ
from sympy.polys.rings import ring
from torch import Tensor

from constructions.language.rational import ExactTransformer
from constructions.language.transformer import Transformer, TransformerLayer, TransformerShape
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from verify.tensor.layout import Form, contracted, layout

BOUND = 7
"""B of the shifted heads: any number would do, the hypothesis being ``|v_m s_j| <= B``."""

Matrix = Any  # sympy's matrices: their entries carry no types
Expression = Any


@dataclass(frozen=True)
class SymbolicOutcome:
    """Whether the step is an identity by the first route; the sign patterns of the second, how many held."""

    at_once: bool
    patterns: int
    patterns_held: int

    @property
    def held(self) -> bool:
        """Both routes agree that the identity holds."""
        return self.at_once and self.patterns_held == self.patterns


def symbolic_identity(
    dim: int, form: Form, max_dim: int | None = None, transformer: Transformer | None = None
) -> SymbolicOutcome:
    """One step for all real T (dim, dim, dim) and v, by both routes.

    Args:
        dim: d. form: which weights. max_dim: d0 of the weights, d unless said.
        transformer: other weights of the same shape, with ``BOUND`` for B; those of the construction unless
            said.

    Raises:
        ValueError: weights applied more than once, or not exact (softmax, GELU, a norm).
    """
    built = form.build(dim if max_dim is None else max_dim, 1, BOUND)
    weights = built.to_transformer() if transformer is None else transformer
    if weights.shape.loops != 1:
        raise ValueError(f"the weights are applied {weights.shape.loops} times; the identity is of one step")
    patterns: list[tuple[int, ...]] = list(product((1, -1), repeat=2 * dim))
    held = _by_signs(dim, form, built, weights, patterns)
    return SymbolicOutcome(_at_once(dim, form, built, weights), len(patterns), held)


# ---- at once


def _at_once(dim: int, form: Form, built: TensorPowerConstruction, transformer: Transformer) -> bool:
    d = range(dim)
    T = [[[sp.Symbol(f"T{i}{j}{m}", real=True) for m in d] for j in d] for i in d]
    v = [sp.Symbol(f"v{i}", real=True) for i in d]
    n = dim if form.mean else 1
    within_bound = {sign * n * a * b for sign in (1, -1) for a in v for b in v} if form.offset else set()
    size = sp.Function("abs")

    def relu(a: Expression) -> Expression:
        a = sp.expand(a)
        if a.is_Number:
            return sp.Max(a, 0)
        if sp.expand(a - BOUND) in within_bound:
            return a
        return (a + size(-a if a.could_extract_minus_sign() else a)) / 2

    stream = built.construction.stream
    h: Matrix = sp.Matrix(layout(stream, form, T, v, dim))
    for layer in transformer.layers:
        h = _dense_layer(h, layer, relu, transformer.shape)  # pyright: ignore[reportArgumentType]
    wanted = sp.Matrix(layout(stream, form, T, contracted(T, v), dim))
    return all(sp.expand(entry) == 0 for entry in h - wanted)


def _dense_layer(h: Matrix, layer: TransformerLayer, relu: Any, shape: TransformerShape) -> Matrix:
    if layer.attention is not None:
        a = layer.attention
        share = sp.Rational(1, h.rows) if shape.divide_by_tokens else 1
        scale = sp.Rational(*shape.score_scale.as_integer_ratio())
        written = sp.zeros(h.rows, h.cols)
        for head in range(a.layer.heads):
            q, k, v, o = (_rationals(weight[head]) for weight in (a.query, a.key, a.value, a.output))
            written += share * (scale * (h * q) * (h * k).T).applyfunc(relu) * (h * v) * o
        h = (h + written).applyfunc(sp.expand)
    if layer.mlp is not None:
        w1, b1, w2, b2 = (_rationals(p) for p in (layer.mlp.w1, layer.mlp.b1, layer.mlp.w2, layer.mlp.b2))
        every = sp.ones(h.rows, 1)
        h = (h + (h * w1 + every * b1.T).applyfunc(relu) * w2 + every * b2.T).applyfunc(sp.expand)
    return h


def _rationals(weight: Tensor) -> Matrix:
    def exact(value: float) -> Expression:
        return sp.Rational(*Fraction(value).as_integer_ratio())

    rows = weight.detach().tolist()
    return sp.Matrix([[exact(x) for x in row] if isinstance(row, list) else [exact(row)] for row in rows])


# ---- by signs


class _NoSignError(Exception):
    """A relu of something whose sign a pattern does not say."""


def _by_signs(
    dim: int,
    form: Form,
    built: TensorPowerConstruction,
    transformer: Transformer,
    patterns: list[tuple[int, ...]],
) -> int:
    d = range(dim)
    names = [f"v{i}" for i in d] + [f"T{i}{j}{m}" for i in d for j in d for m in d]
    polynomials, *symbols = ring(names, QQ)
    v = symbols[:dim]
    entries = iter(symbols[dim:])
    T = [[[next(entries) for _ in d] for _ in d] for _ in d]
    w = contracted(T, v)
    n = dim if form.mean else 1
    within_bound = {sign * n * a * b for sign in (1, -1) for a in v for b in v} if form.offset else set()
    stream = built.construction.stream
    tokens = layout(stream, form, T, v, dim)
    wanted = layout(stream, form, T, w, dim)
    signs: dict[Any, int] = {}

    def relu(a: Any) -> Any:
        a = polynomials(a)
        if a.is_ground:
            return a if a.LC > 0 else 0
        if a - BOUND in within_bound:
            return a
        if a.monic() not in signs:
            raise _NoSignError
        return a if signs[a.monic()] * a.LC > 0 else 0

    exact = ExactTransformer(transformer, lambda f: QQ(f.numerator, f.denominator), relu)
    held = 0
    for pattern in patterns:
        of_v, of_w = pattern[:dim], pattern[dim:]
        signs |= {
            (a * b).monic(): p * q for a, p in zip(v, of_v, strict=True) for b, q in zip(v, of_v, strict=True)
        }
        for known, sign in (*zip(v, of_v, strict=True), *zip(w, of_w, strict=True)):
            signs[known.monic()] = sign if known.LC > 0 else -sign
        try:
            held += exact(tokens) == wanted
        except _NoSignError:
            continue
    return held


# ---- the RMS norm


def rms_identity(dim: int) -> bool:
    """Whether ``gain w / sqrt(mean(w^2)) = w / |w|`` for ``gain = 1/sqrt(D)``, in symbols w and D.

    The mean goes over D columns of which those of w alone are not 0.
    """
    w = [sp.Symbol(f"w{i}", real=True) for i in range(dim)]
    D = sp.Symbol("D", positive=True)
    square = sum((x**2 for x in w), start=sp.Integer(0))
    return all(sp.simplify(x / sp.sqrt(D) / sp.sqrt(square / D) - x / sp.sqrt(square)) == 0 for x in w)


def rms_gain_error(max_dim: int) -> Fraction | None:
    """``|D g^2 - 1|`` of the stored gain g of the RMS form, exactly: |v| is off 1 by half of it.

    None where the weights are not those of the plain form and one norm after the first layer, without an
    epsilon, with one gain, over heads that write w alone.
    """
    plain = tensor_power_construction(max_dim, 1)
    built = tensor_power_construction(max_dim, 1, normalise="rms")
    weights = dict(built.to_transformer().named_parameters())
    gain = weights.pop("layers.0.attention.norm.weight")
    expected = dict(plain.to_transformer().named_parameters())
    norm: Any = built.to_transformer().get_submodule("layers.0.attention.norm")
    elsewhere = weights["layers.0.attention.output"].detach().clone()
    elsewhere[..., built.construction.stream.w.slice] = 0
    same = weights.keys() == expected.keys() and all(bool((weights[k] == expected[k]).all()) for k in weights)
    if not same or norm.eps != 0 or bool(elsewhere.any()) or not bool((gain == gain[0]).all()):
        return None
    return abs(len(gain) * Fraction(float(gain[0].detach())) ** 2 - 1)
