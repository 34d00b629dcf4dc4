"""Gradient descent for least squares as ReLU attention, exactly: one layer a step, three heads.

    w <- w + (eta / n) sum_i (y_i - <w, x_i>) x_i        gradient descent on sum_i (y_i - <w, x_i>)^2 / (2 n)

A data token carries x_i, y_i and ``step = (eta / n) x_i``; one more token, the register, carries w and
``unit = 1``. Its score ``<unit, y_i> - <w, x_i>`` is the residual, and a pair of ReLU heads applies it to
``step``: ``relu(a) - relu(-a) = a``. A third head, of score 1 at the register alone, carries w over; the MLP
moves the sum into w. Every other token holds 0 for w and unit, so it asks for nothing and adds nothing.

Source: von Oswald et al. 2023, "Transformers learn in-context by gradient descent", Proposition 1: one layer
and one linear-attention head a step. Linear attention is two ReLU heads. The construction is ours, with w
itself instead of predictions; paper_notes/gallery.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.gallery.run import GalleryRun, walk
from constructions.gallery.tasks import Arrays, check_at_most, check_same, gather, numbers, scalars
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import HeadSum, ReluHead, linear_pair
from constructions.language.mlp import clear, move
from constructions.language.rounding import above, gamma, number, unit_roundoff
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.tables import text_table

SOURCE = "von Oswald et al. 2023, Proposition 1 (gradient descent for least squares in linear attention)"


@dataclass(frozen=True, eq=False)
class Regression:
    """B tasks, padded with zeros.

    Attributes:
        X: (B, n, d) points. y: (B, n) targets. step: (B, n, d) the points times eta / n, in float64.
        start: (B, d). counts, dims: (B,) true n and d. single: one task was given, without a batch dimension.
    """

    X: Tensor
    y: Tensor
    step: Tensor
    start: Tensor
    counts: Tensor
    dims: Tensor
    single: bool

    __repr__ = short_repr


def least_squares_construction(max_dim: int, steps: int) -> LeastSquaresConstruction:
    """Build L steps for every d <= max_dim and every n.

    Args:
        max_dim: d0.
        steps: L; one layer a step, one set of weights applied L times.

    Raises:
        ValueError: a number that is no whole number from 1 on.
    """
    check_whole(max_dim=max_dim, steps=steps)
    d = max_dim
    s = Stream(x=d, step=d, y=1, unit=1, w=d, new=d)
    q, k = s.query, s.key
    descend = linear_pair(dot(q.unit, k.y) - dot(q.w, k.x), read=s.step, write=s.new)
    carry = ReluHead(dot(q.unit, k.unit), read=s.w, write=s.new)
    layer = Layer("descend", heads=(HeadSum((*descend.heads, carry)),), mlp=(clear(s.w), move(s.new, s.w)))
    construction = Construction(
        name=f"gradient descent, {steps} step{'s' if steps > 1 else ''}, d <= {d}",
        source=SOURCE,
        stream=s,
        inputs=(s.x, s.step, s.y, s.unit, s.w),
        layers=(layer,),
        loops=steps,
    )
    return LeastSquaresConstruction(construction)


@dataclass(frozen=True, eq=False)
class LeastSquaresConstruction(ConstructedAlgorithm):
    """The weights with read-in, run and bounds. Made by :func:`least_squares_construction`."""

    __repr__ = short_repr

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.x.width

    def check(
        self,
        X: Arrays,
        y: Arrays,
        rate: float | Tensor,
        start: Arrays | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Regression:
        """The batch that :meth:`run` makes of these tasks.

        Args:
            X: (n, d), (B, n, d), or B arrays. y: (n,), (B, n), or B arrays.
            rate: eta, one number or (B,). start: w_0 as (d,), (B, d) or B arrays; 0 unless given.
            dtype, device: of the tokens; numbers are rounded to ``dtype`` here, once.

        Raises:
            HypothesisError: shapes that do not fit together, d above d0, a value that is not finite.
        """
        points, targets = gather("X", X, 2, dtype, device), gather("y", y, 1, dtype, device)
        counts, dims = points.sizes.unbind(1)
        check_same("points in X", counts, "targets in y", targets.sizes[:, 0])
        check_at_most("d", dims, self.max_dim, "max_dim")
        eta = scalars("rate", rate, points)
        begin = points.values.new_zeros(len(points), points.values.shape[2])
        if start is not None:
            given = gather("start", start, 1, dtype, device)
            check_same("d of X", dims, "d of start", given.sizes[:, 0])
            begin = given.values
        X64 = points.values.to(torch.float64)
        step = X64 * (eta.to(torch.float64) / counts)[:, None, None]
        return Regression(points.values, targets.values, step, begin, counts, dims, points.single)

    def embed(self, tasks: Regression) -> tuple[Tensor, Tensor]:
        """The tokens (B, 1 + N, D), the register first, and which of them are real."""
        s, (B, N, d) = self.stream, tasks.X.shape
        h = tasks.X.new_zeros(B, 1 + N, s.width)
        h[:, 1:, s.x.slice][..., :d] = tasks.X
        h[:, 1:, s.step.slice][..., :d] = tasks.step.to(h)
        h[:, 1:, s.y.slice] = tasks.y[..., None]
        h[:, 0, s.unit.slice] = 1.0
        h[:, 0, s.w.slice][:, :d] = tasks.start
        places = torch.arange(N, device=h.device) < tasks.counts[:, None]
        return h, torch.cat([places.new_ones(B, 1), places], 1)

    def decode(self, state: State) -> Tensor:
        """(B, d0) the w of the register."""
        return state.read(self.stream.w, first=1)[:, 0]

    def run(
        self,
        X: Arrays,
        y: Arrays,
        rate: float | Tensor,
        start: Arrays | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        steps: int | None = None,
        evaluation: Evaluation = "structured",
    ) -> GalleryRun:
        """Run the layers on one task or a batch, also of mixed sizes; arguments as :meth:`check`.

        Args:
            X, y, rate, start: tasks.
            dtype, device: of weights and tokens.
            steps: how often the layer is applied; L unless said.
            evaluation: "structured" or "dense"; one function, and the bounds hold for both.

        Returns:
            w along the path, (B, L + 1, d).

        Raises:
            HypothesisError: as :meth:`check`, or a step that leaves the range of the dtype.
            ValueError: ``steps`` not a whole number from 1 on, an evaluation that is none.
        """
        steps = self.steps if steps is None else steps
        check_whole(steps=steps)
        tasks = self.check(X, y, rate, start, dtype, device)
        d = tasks.X.shape[2]
        found = walk(self, self.embed(tasks), self.decode, evaluation, steps)
        path = torch.stack([tasks.start, *(w[:, :d] for w in found)], 1)
        return GalleryRun(path[0] if tasks.single else path, evaluation)

    def error_bounds(self, tasks: Regression, path: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, L, d) how far each entry of ``path`` (B, L + 1, d), run in ``dtype``, is from gradient descent.

        All of it is rounding, since in real arithmetic the layers are the step. With T = n + 1 tokens, all
        sums over them, ``R_i = |y_i| + <|w|, |x_i|>`` at the state w that the layer starts from, and u the
        unit roundoff:

            score            d0 + 1 products and sums          |error| <= gamma_{d0 + 2} R_i
            head             ``step`` rounded once, a product, a sum over T tokens, one over 3 heads
            together         gamma_{d0 + T + 8} (sum_i R_i |step_i| + |w|)
            the MLP          w + (new - w), two roundings      u (|new - w| + |w + (new - w)|)
            underflow        tiny a product: of d0 + 1 in each score, times |step|; of T + 1 in a head; a few
                             more for numbers below tiny that are flushed: counted with a factor 2

        and an error e of the state becomes at most ``|I - sum_i step_i x_i^T| e``, entry by entry. The factor
        is computed in float64, whose own rounding is added to it.
        """
        d, u, u64 = tasks.X.shape[2], unit_roundoff(dtype), unit_roundoff(torch.float64)
        X, y, step, path = numbers(tasks.X, tasks.y, tasks.step, path)
        T, d0 = X.shape[1] + 1, self.max_dim
        one, tiny = torch.eye(d, dtype=torch.float64), torch.finfo(dtype).tiny
        factor = (one - step.mT @ X).abs() + gamma(T + 2, u64) * (one + step.abs().mT @ X.abs())
        size = step.abs().sum(1)
        error, bounds = torch.zeros_like(X[:, 0]), []
        for w, then in zip(path[:, :-1].unbind(1), path[:, 1:].unbind(1), strict=True):
            R = y.abs() + (X.abs() @ w.abs()[..., None])[..., 0]
            heads = gamma(d0 + T + 8, u) * ((step.abs() * R[..., None]).sum(1) + w.abs())
            # new is then off by the MLP's rounding: |new| <= |then| + mlp, solved for mlp.
            mlp = (2 * u * then.abs() + u * w.abs()) / (1 - 2 * u)
            flushed = 2 * tiny * ((d0 + 2) * size + T + 8)
            error = above((factor @ error[..., None])[..., 0] + heads + mlp + flushed)
            bounds.append(error)
        return torch.stack(bounds, 1) * (1 + number(gamma(len(bounds) * (2 * T + 2 * d + 30), u64)))

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what earlier work states."""
        found, (layer,) = self.resources(), self.construction.layers
        rows = (
            ("layers", f"{found.layers:,}", f"L = {self.steps}", "L"),
            (
                "heads a layer",
                f"{found.heads}",
                "2 for one of linear attention, 1 that carries w",
                "1, linear",
            ),
            ("width", f"{found.width:,}", f"4 d0 + 2, d0 = {self.max_dim}", "d + 1, and w in no token"),
            ("hidden units", f"{layer.shape.hidden:,}", "4 d0 + 2 d0", "0"),
            ("parameters", f"{found.parameters:,}", "one layer, whatever L", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-"),
        )
        return text_table(("resource", "here", "formula", "earlier work"), rows)
