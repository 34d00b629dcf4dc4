"""Proposition 0 as an identity: the attention of the compiled weights, in symbols, is an EM step.

The dense attention weights are whole numbers (anything else is refused), so sympy has them exactly; the
tokens are symbols, the logarithm is exact, and the difference to the EM formulas must simplify to 0.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
import torch

from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction

Matrix = Any  # sympy's matrices: their entries carry no types


def em_step_identity(dim: int, components: int, samples: int) -> bool:
    """Whether the E head, the mean head and the weight head give EM's formulas for all symbols.

    False also where an attention weight is no whole number: nothing is claimed then.

    Args:
        dim, components, samples: d, K, N, also d0 = d and K0 = K. N need not be a multiple of K.
    """
    em = em_construction(dim, components, 1, 1)
    attention = [p for name, p in em.to_transformer().named_parameters() if "attention" in name]
    if not all(torch.equal(p, p.round()) for p in attention):
        return False
    x: Matrix = sp.Matrix(samples, dim, lambda i, m: sp.Symbol(f"x{i}_{m}", real=True))
    mu = sp.Matrix(components, dim, lambda k, m: sp.Symbol(f"mu{k}_{m}", real=True))
    pi = [sp.Symbol(f"p{k}", positive=True) for k in range(components)]
    r: Matrix = sp.Matrix(samples, components, lambda i, k: sp.Symbol(f"r{i}_{k}", positive=True))
    return _e_head(em, x, mu, pi) and _m_heads(em, x, r)


def _e_head(em: EMConstruction, x: Matrix, mu: Matrix, pi: list[sp.Symbol]) -> bool:
    s = em.stream
    N, K = x.rows, mu.rows
    H = sp.zeros(N, s.width)
    for i in range(N):
        k = i % K
        holders = sum(1 for j in range(N) if j % K == k)
        H[i, s.x.start : s.x.start + x.cols] = x.row(i)
        H[i, s.mu.start : s.mu.start + x.cols] = mu.row(k)
        H[i, s.slot.start + k] = 1
        for c in range(K):
            H[i, s.log_pi.start + c] = sp.log(pi[c])
        H[i, s.half_norm2.start] = mu.row(k).dot(mu.row(k)) / 2
        H[i, s.log_count.start] = sp.log(holders)
        H[i, s.one.start] = 1
    read = _head(em, layer=0, head=0, H=H)
    for i in range(N):
        density = [pi[k] * sp.exp(-(x.row(i) - mu.row(k)).dot(x.row(i) - mu.row(k)) / 2) for k in range(K)]
        for k in range(K):
            exact = density[k] / sum(density)
            if not _zero(read[i, s.resp.start + k] - exact):
                return False
    return True


def _m_heads(em: EMConstruction, x: Matrix, r: Matrix) -> bool:
    s = em.stream
    N, K = r.shape
    H = sp.zeros(N, s.width)
    for i in range(N):
        H[i, s.x.start : s.x.start + x.cols] = x.row(i)
        H[i, s.slot.start + i % K] = 1
        for k in range(K):
            H[i, s.resp.start + k] = r[i, k]
            H[i, s.log_resp.start + k] = sp.log(r[i, k])
    means, weights = _head(em, layer=1, head=0, H=H), _head(em, layer=1, head=1, H=H)
    for i in range(N):
        k = i % K
        mass = sum(r[j, k] for j in range(N))
        for m in range(x.cols):
            exact = sum(r[j, k] * x[j, m] for j in range(N)) / mass
            if not _zero(means[i, s.mu.start + m] - exact):
                return False
        for c in range(K):
            if not _zero(weights[i, s.pi.start + c] - sum(r[j, c] for j in range(N)) / N):
                return False
    return True


def _head(em: EMConstruction, layer: int, head: int, H: Matrix) -> Matrix:
    """Softmax attention of one head of the compiled transformer, in symbols."""
    weights = dict(em.to_transformer().layers[layer].named_parameters())
    q, k, v, o = (
        sp.Matrix(weights[f"attention.{name}"].detach()[head].long().tolist())
        for name in ("query", "key", "value", "output")
    )
    scores = (H * q) * (H * k).T
    rows = []
    for i in range(H.rows):
        unnormalised = [sp.powsimp(sp.expand(sp.exp(scores[i, j]))) for j in range(H.rows)]
        total = sum(unnormalised)
        rows.append([value / total for value in unnormalised])
    return sp.Matrix(rows) * H * v * o


def _zero(expression: Any) -> bool:
    return sp.simplify(expression) == 0
