"""Functions of balls along a dimension: sums, extremes, softmax, products of matrices, their norms."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, Entries, balls, entries_of, rows, shape_of, spread
from verify.balls.flint import acb_mat, arb, arb_mat
from verify.balls.numbers import NOT_A_NUMBER, ONE, ZERO

Dim = int | Sequence[int] | None


def _along(function: Callable[[Entries], arb]) -> Callable[..., Balls]:
    def found(x: Tensor, dim: Dim = None, keepdim: bool = False, **_: Any) -> Balls:
        lines, left, ones = rows(x, dim)
        return Balls.of([function(line) for line in lines], ones if keepdim else left)

    return found


def _in_place_of(function: Callable[[Entries], Entries]) -> Callable[..., Tensor]:
    """A line of results for each line, which stands where that stood."""

    def found(x: Tensor, dim: int, **_: Any) -> Tensor:
        shape = shape_of(x)
        axis = dim % len(shape)
        lines, left, _ones = rows(x, axis)
        results = Balls.of([entry for line in lines for entry in function(line)], (*left, shape[axis]))
        return balls(results.movedim(-1, axis))

    return found


def total(line: Entries) -> arb:
    """The sum."""
    return sum(line, ZERO)


def _mean(line: Entries) -> arb:
    return total(line) / len(line) if line else NOT_A_NUMBER


def _product(line: Entries) -> arb:
    found = ONE
    for entry in line:
        found = found * entry
    return found


def _largest(line: Entries) -> arb:
    found = line[0]
    for entry in line[1:]:
        found = numbers.larger(found, entry)
    return found


def _smallest(line: Entries) -> arb:
    found = line[0]
    for entry in line[1:]:
        found = numbers.smaller(found, entry)
    return found


def _running(line: Entries) -> Entries:
    found, before = [], ZERO
    for entry in line:
        before = before + entry
        found.append(before)
    return found


def _log_sum(line: Entries) -> arb:
    """``log sum exp``, over the exponential of an exact number near the largest."""
    finite = [entry for entry in line if entry.is_finite()]
    unknown = [e for e in line if not e.is_finite() and not bool(e == -numbers.INFINITY)]
    if unknown:
        return NOT_A_NUMBER
    if not finite:
        return -numbers.INFINITY
    top = max(finite, key=lambda entry: float(entry.mid())).mid()
    return top + total([(entry - top).exp() for entry in finite]).log()


def _log_shares(line: Entries) -> Entries:
    whole = _log_sum(line)
    return [entry - whole for entry in line]


def _shares(line: Entries) -> Entries:
    return list(map(numbers.exponential, _log_shares(line)))


def product(a: Tensor, b: Tensor) -> Balls:
    """``a @ b`` with leading dimensions as in torch; vectors too."""
    first, second = balls(a), balls(b)
    row, column = len(shape_of(first)) == 1, len(shape_of(second)) == 1
    first = first[None, :] if row else first
    second = second[:, None] if column else second
    (n, m), (m2, q) = shape_of(first)[-2:], shape_of(second)[-2:]
    if m != m2:
        raise ValueError(f"matrices of {n} x {m} and {m2} x {q} have no product")
    lead = np.broadcast_shapes(shape_of(first)[:-2], shape_of(second)[:-2])
    lefts, rights = (spread(matrices(part), shape_of(part)[:-2], lead) for part in (first, second))
    entries: Entries = []
    for left, right in zip(lefts, rights, strict=True):
        entries += (left * right).entries()
    shape = (*lead, *(() if row else (n,)), *(() if column else (q,)))
    return Balls.of(entries, shape)


def matrices(x: Tensor) -> list[arb_mat]:
    """Those in the last two dimensions."""
    n, m = shape_of(x)[-2:]
    entries = entries_of(x)
    count = math.prod(shape_of(x)[:-2])
    return [arb_mat(n, m, entries[i * n * m : (i + 1) * n * m]) for i in range(count)]


def solved(A: Tensor, b: Tensor) -> tuple[Balls, Tensor]:
    """``(A^-1 b, 0)`` as torch.linalg.solve_ex: 0 says that A is not singular.

    Raises:
        Undecided: an A that may be singular at this precision.
    """
    entries: Entries = []
    for left, right in zip(matrices(A), matrices(b), strict=True):
        try:
            entries += left.solve(right).entries()
        except ZeroDivisionError as singular:
            raise numbers.Undecided(f"{left} may be singular") from singular
    with torch._C.DisableTorchFunction():
        regular = torch.zeros(shape_of(A)[:-2], dtype=torch.int32)
    return Balls.of(entries, shape_of(b)), regular


def inverse(x: Tensor) -> Balls:
    """Of matrices."""
    return _each(x, lambda matrix: matrix.inv())


def cholesky(x: Tensor) -> Balls:
    """The lower triangular factor of positive definite matrices; every number where that is not certain."""
    return _each(x, _factor)


def _each(x: Tensor, function: Callable[[arb_mat], arb_mat]) -> Balls:
    found = [entry for matrix in matrices(x) for entry in function(matrix).entries()]
    return Balls.of(found, shape_of(x))


def _factor(matrix: arb_mat) -> arb_mat:
    n = matrix.nrows()
    found = arb_mat(n, n)
    for j in range(n):
        left = matrix[j, j] - total([found[j, i] * found[j, i] for i in range(j)])
        found[j, j] = left.sqrt() if left > 0 else numbers.EVERY_NUMBER
        for i in range(j + 1, n):
            product_of_rows = total([found[i, m] * found[j, m] for m in range(j)])
            found[i, j] = numbers.quotient(matrix[i, j] - product_of_rows, found[j, j])
    return found


def _order(a: arb, b: arb) -> int:
    """Of exact numbers."""
    return -1 if a < b else int(a > b)


def eigenvalues(x: Tensor) -> Balls:
    """Of symmetric matrices, ascending: they are real, so the imaginary parts of their balls are dropped.

    Balls may overlap: the k-th eigenvalue lies between the k-th of their lower ends and of their upper ends.
    """
    found: Entries = []
    for matrix in matrices(x):
        n = matrix.nrows()
        try:
            values = [value.real for value in acb_mat(matrix).eig(multiple=True)]
        except ValueError:  # it could not separate them
            values = [numbers.EVERY_NUMBER]
        if not all(value.is_finite() for value in values):
            found += [numbers.EVERY_NUMBER] * n
            continue
        low, high = (
            sorted(side, key=functools.cmp_to_key(_order))
            for side in ([v.lower() for v in values], [v.upper() for v in values])
        )
        found += [a.union(b) for a, b in zip(low, high, strict=True)]
    return Balls.of(found, shape_of(x)[:-1])


SQUARINGS = 24
"""After s of them the trace of the power gives the norm within a factor n^(2^-(s+2))."""


def matrix_norm(x: Tensor, order: Any = "fro", **named: Any) -> Balls:
    """The spectral or Frobenius norm of the matrices in the last two dimensions."""
    order = named.pop("ord", order)
    if named:
        raise NotImplementedError(f"a norm of matrices with {named}")
    if order == "fro":
        lines, left, _ = rows(x, (-2, -1))
        return Balls.of([numbers.root(total(list(map(numbers.square, line)))) for line in lines], left)
    if order != 2:
        raise NotImplementedError(f"a norm of order {order} of matrices")
    return Balls.of([_spectral(matrix) for matrix in matrices(x)], shape_of(x)[:-2])


def _spectral(matrix: arb_mat) -> arb:
    """``(tr G^p / n)^(1/2p) <= |A| <= (tr G^p)^(1/2p)`` with ``G = A^T A`` and p a power of 2.

    Of balls too near 0 for that, from 0 to the Frobenius norm.
    """
    gram = matrix.transpose() * matrix
    n, first = gram.nrows(), gram.trace()
    if not first.is_finite():
        return NOT_A_NUMBER
    if first.is_zero():
        return ZERO
    # |A|^2 = exp(log_scale + log|G| / power) throughout.
    log_scale, power = ZERO, ONE
    for _ in range(SQUARINGS):
        size = gram.trace().mid()
        if not size > 0:
            break
        log_scale = log_scale + size.log() / power
        gram = gram * (1 / size)
        gram, power = gram * gram, power * 2
    trace = gram.trace()
    if not (trace.is_finite() and trace > 0):
        return ZERO.union(numbers.root(first))
    return ((log_scale + (trace / n).log().union(trace.log()) / power) / 2).exp()


LINES: dict[str, Callable[..., Any]] = {
    "linalg_solve_ex": solved,
    "sum": _along(total),
    "mean": _along(_mean),
    "prod": _along(_product),
    "amax": _along(_largest),
    "amin": _along(_smallest),
    "logsumexp": _along(_log_sum),
    "cumsum": _in_place_of(_running),
    "log_softmax": _in_place_of(_log_shares),
    "softmax": _in_place_of(_shares),
}
"""By the name of the torch function."""
