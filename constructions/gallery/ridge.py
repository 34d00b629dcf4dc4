"""Ridge regression by Newton's inverse as ReLU attention: one layer a step and one more, two heads.

    w* = A^-1 b,   A = X^T X + lambda I,   b = X^T y
    Newton's inverse   X_{t+1} = X_t (2 I - A X_t),   X_0 = c I,   w_t = X_t b

With R_t = I - A X_t this is ``R_{t+1} = R_t^2`` and ``w_{t+1} = w_t + R_t w_t``: the squaring of

    M_t = | R_t  w_t |        M_{t+1} = M_t M_t,        the map  z -> R_t z + w_t  applied twice
          |  0    1  |

so one product a step is enough. M stands in d0 + 1 registers, a row a token. Token i of the data carries x_i
and ``v = (-c x_i, c y_i)``; register k the one-hot ``id``, the same in x, and ``v = (1 - c lambda) e_k``, the
last one ``v = e_{d0 + 1}``. *moments*: ``M_0 = sum_i x_i v_i^T`` over all tokens. *double*: ``M <- M M``.

Since w_t = (I - R_t) w*, the error is |R_t w*| <= rho^(2^t) |w*|, rho = |I - c A|. With
c = 1 / (sum_i |x_i|^2 + lambda) that is at most 1 - c lambda_min, so a relative error eps takes
log2(1 / (c lambda_min)) + log2 log(1 / eps) steps.

Source: arXiv 2403.03183 (Newton's inverse, 2 linear-attention layers a step) and 2310.17086 (k steps in
k + O(1) layers). The construction is ours; paper_notes/gallery.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.gallery.ridge_bounds import RidgeBound, ridge_bound
from constructions.gallery.run import GalleryRun, walk
from constructions.gallery.tasks import Arrays, check_at_most, check_same, gather, numbers, scalars
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import linear_pair
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import clear, move
from constructions.language.program import Repeat, in_order
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.tables import text_table

SOURCE = "arXiv 2403.03183 and 2310.17086 (Newton's inverse for ridge regression)"


@dataclass(frozen=True, eq=False)
class RidgeTasks:
    """B tasks, padded with zeros.

    Attributes:
        X: (B, n, d) points. y: (B, n) targets. penalty: (B,) lambda. scale: (B,) c, a number of the dtype.
        counts, dims: (B,) true n and d. single: one task was given, without a batch dimension.
    """

    X: Tensor
    y: Tensor
    penalty: Tensor
    scale: Tensor
    counts: Tensor
    dims: Tensor
    single: bool

    __repr__ = short_repr


def ridge_construction(max_dim: int, steps: int) -> RidgeConstruction:
    """Build L Newton steps for every d <= max_dim and every n.

    Args:
        max_dim: d0.
        steps: L; one layer a step, one set of weights applied L times, after one layer for the moments.

    Raises:
        ValueError: a number that is no whole number from 1 on.
    """
    check_whole(max_dim=max_dim, steps=steps)
    m = max_dim + 1
    s = Stream(id=m, x=m, v=m, row=m, new=m)
    q, k = s.query, s.key
    moments = Layer("moments", heads=(linear_pair(dot(q.id, k.x), read=s.v, write=s.row),))
    double = Layer(
        "double",
        heads=(linear_pair(dot(q.row, k.id), read=s.row, write=s.new),),
        mlp=(clear(s.row), move(s.new, s.row)),
    )
    layers, order = in_order(moments, Repeat(steps, (double,)))
    construction = Construction(
        name=f"ridge regression, {steps} Newton step{'s' if steps > 1 else ''}, d <= {max_dim}",
        source=SOURCE,
        stream=s,
        inputs=(s.id, s.x, s.v),
        layers=layers,
        order=order,
    )
    return RidgeConstruction(construction, steps)


@dataclass(frozen=True, eq=False)
class RidgeConstruction(ConstructedAlgorithm):
    """The weights with read-in, run and bounds. Made by :func:`ridge_construction`.

    Attributes:
        newton_steps: L; one pass holds them all.
    """

    newton_steps: int

    __repr__ = short_repr

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.id.width - 1

    @property
    def steps(self) -> int:
        """L."""
        return self.newton_steps

    def check(
        self,
        X: Arrays,
        y: Arrays,
        penalty: float | Tensor,
        scale: float | Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> RidgeTasks:
        """The batch that :meth:`run` makes of these tasks.

        Args:
            X: (n, d), (B, n, d), or B arrays. y: (n,), (B, n), or B arrays.
            penalty: lambda >= 0, one number or (B,).
            scale: c with 0 < c (sum_i |x_i|^2 + lambda) < 2, one number or (B,); the inverse of that sum
                unless given.
            dtype, device: of the tokens; numbers are rounded to ``dtype`` here, once.

        Raises:
            HypothesisError: shapes that do not fit together, d above d0, a value that is not finite, a
                negative penalty, a scale outside its range.
        """
        points, targets = gather("X", X, 2, dtype, device), gather("y", y, 1, dtype, device)
        counts, dims = points.sizes.unbind(1)
        check_same("points in X", counts, "targets in y", targets.sizes[:, 0])
        check_at_most("d", dims, self.max_dim, "max_dim")
        ridge = scalars("penalty", penalty, points)
        if bool((ridge < 0).any()):
            raise HypothesisError(f"penalty is {float(ridge.min()):g}; it is at least 0")
        total = points.values.double().square().sum((1, 2)) + ridge.double()
        if scale is None:
            if not bool((total > 0).all()):
                raise HypothesisError("all points and the penalty are 0; there is nothing to invert")
            scale = 1 / total
        c = scalars("scale", scale, points)
        reach = c.double() * total
        if not bool(((reach > 0) & (reach < 2)).all()):
            bad = reach[~((reach > 0) & (reach < 2))][0]
            raise HypothesisError(
                f"scale (sum |x_i|^2 + penalty) is {float(bad):g}; it lies strictly between 0 and 2"
            )
        return RidgeTasks(points.values, targets.values, ridge, c, counts, dims, points.single)

    def embed(self, tasks: RidgeTasks) -> tuple[Tensor, Tensor]:
        """The tokens (B, d0 + 1 + N, D), the registers first, and which of them are real."""
        s, (B, N, d), m = self.stream, tasks.X.shape, self.max_dim + 1
        h = tasks.X.new_zeros(B, m + N, s.width)
        c = tasks.scale.double()
        h[:, m:, s.x.slice][..., :d] = tasks.X
        h[:, m:, s.v.slice][..., :d] = (-c[:, None, None] * tasks.X.double()).to(h)
        h[:, m:, s.v.slice][..., -1] = (c[:, None] * tasks.y.double()).to(h)
        h[:, :m, s.id.slice] = torch.eye(m).to(h)
        h[:, :m, s.x.slice] = torch.eye(m).to(h)
        present = torch.arange(self.max_dim, device=h.device) < tasks.dims[:, None]
        kept = torch.cat([(1 - c * tasks.penalty.double())[:, None] * present, present.new_ones(B, 1)], 1)
        h[:, :m, s.v.slice] = torch.diag_embed(kept).to(h)
        places = torch.arange(N, device=h.device) < tasks.counts[:, None]
        return h, torch.cat([places.new_ones(B, m), places], 1)

    def decode(self, state: State) -> Tensor:
        """(B, d0): the last entry of the rows in the registers."""
        return state.read(self.stream.row, first=self.max_dim)[..., -1]

    def run(
        self,
        X: Arrays,
        y: Arrays,
        penalty: float | Tensor,
        scale: float | Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        evaluation: Evaluation = "structured",
    ) -> GalleryRun:
        """Run the layers on one task or a batch, also of mixed sizes; arguments as :meth:`check`.

        Returns:
            w_t along the path, (B, L + 1, d): c b after the moments, then after each Newton step.

        Raises:
            HypothesisError: as :meth:`check`, or a step that leaves the range of the dtype.
            ValueError: an evaluation that is none.
        """
        tasks = self.check(X, y, penalty, scale, dtype, device)
        places = tuple(range(self.newton_steps + 1))
        found = walk(self, self.embed(tasks), self.decode, evaluation, 1, places)
        path = torch.stack(found, 1)[..., : tasks.X.shape[2]]
        return GalleryRun(path[0] if tasks.single else path, evaluation)

    def error_bounds(self, tasks: RidgeTasks, dtype: torch.dtype) -> RidgeBound:
        """How far the path of ``tasks``, run in ``dtype``, is from w* and from Newton's iterates."""
        tokens = self.max_dim + 1 + tasks.X.shape[1]
        X, y, penalty, scale = numbers(tasks.X, tasks.y, tasks.penalty, tasks.scale)
        return ridge_bound(X, y, penalty, scale, self.newton_steps, tokens, dtype)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what earlier work states."""
        found = self.resources()
        rows = (
            (
                "layers",
                f"{found.layers:,}",
                f"L + 1, L = {self.steps}",
                "2 L (2403.03183), L + O(1) (2310.17086)",
            ),
            ("heads a layer", f"{found.heads}", "2, one of linear attention", "O(1), linear"),
            ("width", f"{found.width:,}", f"5 (d0 + 1), d0 = {self.max_dim}", "O(d)"),
            ("hidden units", f"{found.hidden:,}", "4 (d0 + 1)", "-"),
            ("parameters", f"{found.parameters:,}", "two layers, whatever L", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-"),
        )
        return text_table(("resource", "here", "formula", "earlier work"), rows)
