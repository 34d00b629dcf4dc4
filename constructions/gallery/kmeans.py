"""Lloyd's k-means in softmax attention: two layers a step, one head each, exact up to e^(-beta margin).

    assign    a(i) = argmax_k s_ik,    s_ik = <x_i, c_k> - |c_k|^2 / 2        the nearest centre
    update    c_k <- average of the x_i with a(i) = k

Token i carries x_i, the one-hot ``slot`` of component i mod K, the centre c of that slot,
``half_norm2 = |c|^2/2``, and ``log_count``, the log of the number of tokens with its slot.

    assign    resp_i = softmax_j(beta s_ij - log_count_j) slot_j       one-hot up to e^(-beta margin)
    update    c_k    = softmax_i(gain <slot_k, resp_i>) x_i            their average up to e^-gain

The MLP of *update* takes |c|^2 / 2 by chords of the square, which are above it by at most d e / 2: as much of
the margin is lost. As beta and then the gain grow, a step tends to Lloyd's where no point is within d e / 2
of a tie. A cluster without points has no average: Lloyd's step is not defined there, and nothing is claimed.

Source: arXiv 2506.19125 (exact Lloyd in a transformer) for the algorithm in attention. The construction, in
softmax attention of finite temperature, is ours; paper_notes/gallery.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.gallery.kmeans_bounds import LloydBound, LloydData, lloyd_bound
from constructions.gallery.run import GalleryRun, walk
from constructions.gallery.tasks import Arrays, check_at_most, check_same, gather, numbers
from constructions.language import curves
from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import SoftmaxHead
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear, chords, uniform
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.tables import text_table

SOURCE = "arXiv 2506.19125 (Lloyd's k-means in a transformer)"


@dataclass(frozen=True, eq=False)
class KMeansTasks:
    """B tasks, padded with zeros.

    Attributes:
        X: (B, N, d). centres: (B, K, d) the start. counts, components, dims: (B,) true N, K and d.
        single: one task was given, without a batch dimension.
    """

    X: Tensor
    centres: Tensor
    counts: Tensor
    components: Tensor
    dims: Tensor
    single: bool

    __repr__ = short_repr


def assign_layer(s: Stream, beta: float) -> Layer:
    """The slot of the nearest centre; the MLP empties what *update* will fill."""
    q, k = s.query, s.key
    score = beta * (dot(q.x, k.centre) - k.half_norm2) - k.log_count
    head = SoftmaxHead(score, read=s.slot, write=s.resp)
    return Layer("assign", heads=(head,), mlp=(clear(s.centre), clear(s.half_norm2)))


def update_layer(s: Stream, gain: float, square: PiecewiseLinear) -> Layer:
    """The average of the points assigned to the own slot, and half its square."""
    head = SoftmaxHead(gain * dot(s.query.slot, s.key.resp), read=s.x, write=s.centre)
    return Layer("update", heads=(head,), mlp=(apply(square, s.centre, s.half_norm2, 0.5), clear(s.resp)))


def kmeans_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    beta: float = 4096.0,
    gain: float = 40.0,
    pieces: int = 1024,
    radius: float = 8.0,
) -> KMeansConstruction:
    """Build L steps for every d <= max_dim, K <= max_components and N >= K.

    Args:
        max_dim, max_components: d0 and K0.
        steps: L; two layers a step, one set of weights applied L times.
        beta: inverse temperature of the assignments. gain: of the averages.
        pieces: of the square, an even number, so that one knot is 0.
        radius: largest absolute coordinate of points and centres.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    check_whole(max_dim=max_dim, max_components=max_components, steps=steps, pieces=pieces)
    for name, value in (("beta", beta), ("gain", gain), ("radius", radius)):
        check_number(**{name: value})
        if not 0 < value < 1e15:
            raise ValueError(f"{name} is {value!r}; it is positive, below 1e15")
    if pieces % 2:
        raise ValueError(f"pieces is {pieces}; an even number is needed, so that 0 is a knot")
    square = chords(curves.square, uniform(-radius, radius, pieces), anchor=pieces // 2)
    d, K = max_dim, max_components
    s = Stream(x=d, slot=K, centre=d, half_norm2=1, log_count=1, one=1, resp=K)
    construction = Construction(
        name=f"k-means, {steps} step{'s' if steps > 1 else ''}, d <= {d}, K <= {K}",
        source=SOURCE,
        stream=s,
        inputs=(s.x, s.slot, s.centre, s.half_norm2, s.log_count, s.one),
        layers=(assign_layer(s, beta), update_layer(s, gain, square)),
        loops=steps,
    )
    return KMeansConstruction(construction, beta, gain, radius, square)


@dataclass(frozen=True, eq=False)
class KMeansConstruction(ConstructedAlgorithm):
    """The weights with read-in, run and bounds. Made by :func:`kmeans_construction`.

    Attributes:
        beta, gain, radius: as given. square: the approximated function.
    """

    beta: float
    gain: float
    radius: float
    square: PiecewiseLinear

    __repr__ = short_repr

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.x.width

    @property
    def max_components(self) -> int:
        """K0."""
        return self.stream.slot.width

    def check(
        self,
        X: Arrays,
        centres: Arrays,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> KMeansTasks:
        """The batch that :meth:`run` makes of these tasks.

        Args:
            X: (N, d), (B, N, d), or B arrays. centres: (K, d), (B, K, d), or B arrays.
            dtype, device: of the tokens; numbers are rounded to ``dtype`` here, once.

        Raises:
            HypothesisError: shapes that do not fit together or are too large, fewer points than centres, a
                value that is not finite or above the radius.
        """
        points, starts = gather("X", X, 2, dtype, device), gather("centres", centres, 2, dtype, device)
        (counts, dims), components = points.sizes.unbind(1), starts.sizes[:, 0]
        check_same("d of X", dims, "d of centres", starts.sizes[:, 1])
        check_at_most("d", dims, self.max_dim, "max_dim")
        check_at_most("K", components, self.max_components, "max_components")
        if bool((counts < components).any()):
            task = int((counts < components).to(torch.int64).argmax())
            raise HypothesisError(
                f"task {task} has {int(counts[task])} points and {int(components[task])} centres; "
                "at least as many points are needed"
            )
        for name, values in (("X", points.values), ("centres", starts.values)):
            if float(values.abs().max()) > self.radius:
                raise HypothesisError(
                    f"{name} reaches {float(values.abs().max()):g}; "
                    f"coordinates are at most radius = {self.radius:g}"
                )
        return KMeansTasks(points.values, starts.values, counts, components, dims, points.single)

    def embed(self, tasks: KMeansTasks) -> tuple[Tensor, Tensor]:
        """The tokens (B, N, D), and which of them are real."""
        s, (B, N, d) = self.stream, tasks.X.shape
        places = torch.arange(N, device=tasks.X.device)
        mask = places < tasks.counts[:, None]
        slots = places % tasks.components[:, None]
        held = (tasks.counts[:, None] - slots - 1) // tasks.components[:, None] + 1
        centre = tasks.centres.gather(1, slots[..., None].expand(-1, -1, d))
        h = tasks.X.new_zeros(B, N, s.width)
        h[..., s.x.slice][..., :d] = tasks.X
        h[..., s.slot.slice] = torch.nn.functional.one_hot(slots, self.max_components).to(h)
        h[..., s.centre.slice][..., :d] = centre
        h[..., s.half_norm2.start] = (centre.double().square().sum(-1) / 2).to(h)
        h[..., s.log_count.start] = held.clamp_min(1).double().log().to(h)
        h[..., s.one.slice] = 1.0
        return h * mask[..., None], mask

    def decode(self, state: State) -> Tensor:
        """(B, K0 or N, d0): token k holds the centre of slot k."""
        return state.read(self.stream.centre, first=self.max_components)

    def run(
        self,
        X: Arrays,
        centres: Arrays,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        steps: int | None = None,
        evaluation: Evaluation = "structured",
    ) -> GalleryRun:
        """Run the layers on one task or a batch, also of mixed sizes; arguments as :meth:`check`.

        Returns:
            The centres along the path, (B, L + 1, K, d).

        Raises:
            HypothesisError: as :meth:`check`.
            ValueError: ``steps`` not a whole number from 1 on, an evaluation that is none.
        """
        steps = self.steps if steps is None else steps
        check_whole(steps=steps)
        tasks = self.check(X, centres, dtype, device)
        K, d = tasks.centres.shape[1:]
        present = torch.arange(K, device=tasks.X.device) < tasks.components[:, None]
        found = walk(self, self.embed(tasks), self.decode, evaluation, steps)
        kept = [c[:, :K, :d] * present[..., None] for c in found]
        path = torch.stack([tasks.centres, *kept], 1)
        return GalleryRun(path[0] if tasks.single else path, evaluation)

    def error_bounds(self, tasks: KMeansTasks, path: Tensor, dtype: torch.dtype) -> LloydBound:
        """How far ``path`` (B, L + 1, K, d), run in ``dtype``, is from Lloyd's algorithm in float64."""
        X, centres = numbers(tasks.X, path)
        data = LloydData(X, tasks.counts.cpu(), tasks.components.cpu(), tasks.dims.cpu())
        return lloyd_bound(data, centres, self.beta, self.gain, self.square, dtype)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what earlier work states."""
        found, (assign, update) = self.resources(), self.construction.layers
        d, K = self.max_dim, self.max_components
        hidden = f"{assign.shape.hidden:,} + {update.shape.hidden:,}"
        rows = (
            ("layers", f"{found.layers:,}", f"2 L, L = {self.steps}", "no number stated that we could find"),
            ("heads a layer", f"{found.heads}", "1", "-"),
            ("width", f"{found.width:,}", f"2 d0 + 2 K0 + 3, d0 = {d}, K0 = {K}", "-"),
            ("hidden units", hidden, f"2 (d0 + 1) + d0 {self.square.units} + 2 K0", "0: attention alone"),
            ("parameters", f"{found.parameters:,}", "two layers, whatever L", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-"),
        )
        return text_table(("resource", "here", "formula", "earlier work"), rows)
