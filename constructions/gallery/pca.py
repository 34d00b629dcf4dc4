"""PCA by power iteration with deflation as ReLU attention: one layer an iteration, one more a component.

    v <- C_p^T v / |C_p^T v|,     C_1 = sum_i x_i x_i^T,     C_{p+1} = C_p (I - v v^T)

so the iteration multiplies by C and projects off the axes found,
``C_p^T = (I - a_{p-1} a_{p-1}^T) .. (I - a_1 a_1^T) C``. The matrix is that of the points about the origin;
centre them first for covariances.

A data token carries x_i. Register k, one of d0, carries the one-hot ``id`` and row k of C. The working token
carries v and ``start``. A belt of K tokens takes the axes: at the end of a component each takes what the one
before it holds, the first takes v.

    moments    C_k = sum_i x_ik x_i                          a pair of heads
    power      w = sum_k v_k C_k, divided by its length      a pair; RMS norm of what the layer writes
    deflate    C_k <- C_k - <C_k, v> v; the belt moves on; v <- start       5 heads

A token that writes 0 has no direction, so in *power* every token writes REST = 2^-50 into the block ``rest``,
which the MLP clears: the length of v becomes |w| / sqrt(|w|^2 + REST^2).

Source: arXiv 2606.00605 (a linear-attention layer and a layer norm an iteration) and 2501.01312 (ReLU heads,
about 3 layers an iteration, then deflation). The construction is ours; paper_notes/gallery.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.gallery.pca_bounds import PCABound, pca_bound
from constructions.gallery.run import GalleryRun, walk
from constructions.gallery.tasks import Arrays, check_at_most, check_same, gather, numbers
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import HeadSum, ReluHead, linear_pair
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import clear, copy, move
from constructions.language.program import Repeat, in_order
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.tables import text_table

SOURCE = "arXiv 2606.00605 and 2501.01312 (PCA by power iteration with deflation)"
REST = 2.0**-50
"""What every token writes beside w, so that none has a vector of length 0 to divide by."""


@dataclass(frozen=True, eq=False)
class PCATasks:
    """B tasks, padded with zeros.

    Attributes:
        X: (B, n, d). start: (B, d). counts, dims: (B,) true n and d. single: one task, without a batch
        dimension.
    """

    X: Tensor
    start: Tensor
    counts: Tensor
    dims: Tensor
    single: bool

    __repr__ = short_repr


def moments_layer(s: Stream) -> Layer:
    """Row k of ``sum_i x_i x_i^T`` at register k."""
    return Layer("moments", heads=(linear_pair(dot(s.query.id, s.key.x), read=s.x, write=s.C),))


def power_layer(s: Stream) -> Layer:
    """``v <- C^T v / |C^T v|`` at the working token; v is 0 elsewhere."""
    q, k = s.query, s.key
    product = linear_pair(dot(q.v, k.id), read=s.C, write=s.w)
    rest = ReluHead(dot(q.one, k.unit), read=s.unit, write=s.rest, scale=REST)
    mlp = (clear(s.v), move(s.w, s.v), clear(s.rest))
    return Layer("power", heads=(product, rest), mlp=mlp, unit_output=True)


def deflate_layer(s: Stream) -> Layer:
    """``C <- C (I - v v^T)``, the belt takes v and moves on, and v starts anew."""
    q, k = s.query, s.key
    off = linear_pair(dot(q.C, k.v), read=s.v, write=s.next_C, scale=-1.0)
    kept = ReluHead(dot(q.id, k.id), read=s.C, write=s.next_C)
    belt = dot(q.before, k.place)
    moved = tuple(ReluHead(belt, read=block, write=s.next_axis) for block in (s.axis, s.v))
    mlp = (
        *(clear(s.C), move(s.next_C, s.C)),
        *(clear(s.axis), move(s.next_axis, s.axis)),
        *(clear(s.v), copy(s.start, s.v)),
    )
    return Layer("deflate", heads=(HeadSum((*off.heads, kept)), HeadSum(moved)), mlp=mlp)


def pca_construction(max_dim: int, components: int, steps: int) -> PCAConstruction:
    """Build K components of L iterations each, for every d from K to max_dim and every n.

    Args:
        max_dim: d0. components: K, at most d0.
        steps: L iterations a component; ``1 + K (L + 1)`` layers with the weights of three.

    Raises:
        ValueError: a number that is no whole number from 1 on, or more components than dimensions.
    """
    check_whole(max_dim=max_dim, components=components, steps=steps)
    if components > max_dim:
        raise ValueError(f"components is {components}; it is at most max_dim = {max_dim}")
    d, K = max_dim, components
    vectors = {"x": d, "id": d, "C": d, "next_C": d, "v": d, "w": d, "start": d, "axis": d, "next_axis": d}
    s = Stream(**vectors, place=K, before=K, one=1, unit=1, rest=1)
    power, deflate = power_layer(s), deflate_layer(s)
    layers, order = in_order(moments_layer(s), Repeat(K, (Repeat(steps, (power,)), deflate)))
    construction = Construction(
        name=f"PCA, components {K}, iterations of each {steps}, d <= {d}",
        source=SOURCE,
        stream=s,
        inputs=(s.x, s.id, s.v, s.start, s.axis, s.place, s.before, s.one, s.unit),
        layers=layers,
        order=order,
    )
    return PCAConstruction(construction, K, steps)


@dataclass(frozen=True, eq=False)
class PCAConstruction(ConstructedAlgorithm):
    """The weights with read-in, run and bounds. Made by :func:`pca_construction`.

    Attributes:
        components: K. iterations: L, for each.
    """

    components: int
    iterations: int

    __repr__ = short_repr

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.x.width

    @property
    def steps(self) -> int:
        """L."""
        return self.iterations

    def check(
        self,
        X: Arrays,
        start: Arrays,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> PCATasks:
        """The batch that :meth:`run` makes of these tasks.

        Args:
            X: (n, d), (B, n, d), or B arrays. start: (d,), (B, d), or B arrays: where each component starts.
            dtype, device: of the tokens; numbers are rounded to ``dtype`` here, once.

        Raises:
            HypothesisError: shapes that do not fit together, d above d0 or below K, a value that is not
                finite, a start whose length is not between 1/2 and 2.
        """
        points, starts = gather("X", X, 2, dtype, device), gather("start", start, 1, dtype, device)
        counts, dims = points.sizes.unbind(1)
        check_same("d of X", dims, "d of start", starts.sizes[:, 0])
        check_at_most("d", dims, self.max_dim, "max_dim")
        if int(dims.min()) < self.components:
            raise HypothesisError(f"d is {int(dims.min())}; there are {self.components} components to find")
        lengths = starts.values.double().norm(dim=-1)
        for length in lengths.tolist():
            if not 0.5 <= length <= 2:
                raise HypothesisError(f"start has length {length:g}; between 1/2 and 2 is needed")
        return PCATasks(points.values, starts.values, counts, dims, points.single)

    def embed(self, tasks: PCATasks) -> tuple[Tensor, Tensor]:
        """The tokens (B, d0 + 1 + K + N, D): registers, working token, belt, points; and which are real."""
        s, (B, N, d), d0, K = self.stream, tasks.X.shape, self.max_dim, self.components
        first = d0 + 1 + K
        h = tasks.X.new_zeros(B, first + N, s.width)
        h[:, first:, s.x.slice][..., :d] = tasks.X
        h[:, :d0, s.id.slice] = torch.eye(d0).to(h)
        for block in (s.v, s.start):
            h[:, d0, block.slice][:, :d] = tasks.start
        h[:, d0 : d0 + K, s.place.slice] = torch.eye(K).to(h)
        h[:, d0 + 1 : first, s.before.slice] = torch.eye(K).to(h)
        h[..., s.one.slice] = 1.0
        h[:, d0, s.unit.slice] = 1.0
        places = torch.arange(N, device=h.device) < tasks.counts[:, None]
        return h, torch.cat([places.new_ones(B, first), places], 1)

    def decode(self, state: State) -> Tensor:
        """(B, K, d0) the axes on the belt after the last component, the first found first."""
        first = self.max_dim + 1
        return state.read(self.stream.axis, first=first + self.components)[:, first:].flip(1)

    def run(
        self,
        X: Arrays,
        start: Arrays,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        evaluation: Evaluation = "structured",
    ) -> GalleryRun:
        """Run the layers on one task or a batch, also of mixed sizes; arguments as :meth:`check`.

        Returns:
            v along the path of each component, (B, L + 1, K, d): the start, then after each iteration.

        Raises:
            HypothesisError: as :meth:`check`, or a step that leaves the range of the dtype.
            ValueError: an evaluation that is none.
        """
        tasks = self.check(X, start, dtype, device)
        K, L = self.components, self.iterations
        places = tuple(1 + p * (L + 1) + t for p in range(K) for t in range(L))

        def working(state: State) -> Tensor:
            return state.read(self.stream.v, first=self.max_dim + 1)[:, -1]

        found = torch.stack(walk(self, self.embed(tasks), working, evaluation, 1, places), 1)
        found = found.unflatten(1, (K, L)).transpose(1, 2)[..., : tasks.X.shape[2]]
        begin = tasks.start[:, None, None].expand_as(found[:, :1])
        path = torch.cat([begin, found], 1)
        return GalleryRun(path[0] if tasks.single else path, evaluation)

    def error_bounds(self, tasks: PCATasks, path: Tensor, dtype: torch.dtype) -> PCABound:
        """How far ``path`` (B, L + 1, K, d), run in ``dtype``, is from the exact iteration."""
        tokens = self.max_dim + 1 + self.components + tasks.X.shape[1]
        sizes = tokens, self.max_dim, self.stream.width
        X, v = numbers(tasks.X, path)
        return pca_bound(X, v, dtype, sizes, REST)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what earlier work states."""
        found, K, L, d = self.resources(), self.components, self.iterations, self.max_dim
        ahead = "L layers and norms (2606.00605), about 3 L and deflation (2501.01312)"
        rows = (
            ("layers", f"{found.layers:,}", f"1 + K (L + 1), K = {K}, L = {L}", ahead),
            ("heads a layer", f"{found.heads}", "3 in power, 5 in deflate", "1, linear; O(1)"),
            ("width", f"{found.width:,}", f"9 d0 + 2 K + 3, d0 = {d}", "O(d)"),
            ("hidden units", f"{found.hidden:,}", "4 d0 + 2, 12 d0", "-"),
            ("parameters", f"{found.parameters:,}", "three layers, whatever K and L", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-"),
        )
        return text_table(("resource", "here", "formula", "earlier work, a component"), rows)
