"""Mirror descent for the weights of a mixture with known components: two layers a step of softmax attention.

    pi_k <- pi_k e^(eta g_k) / sum_j pi_j e^(eta g_j),      g_k = (1/N) sum_i p_k(x_i) / sum_j pi_j p_j(x_i)

the entropic mirror step of size eta on the mean log-likelihood, whose gradient is g. With the
responsibilities ``r_ik = pi_k p_k(x_i) / sum_j pi_j p_j(x_i)`` every term of g is r_ik / pi_k.

Token i carries ``loglik``, the vector log p_k(x_i), the one-hot ``slot`` of component i mod K, and scalars:
``log_count``, the log of the number of tokens with its slot, and ``ell`` and ``inv`` of its slot, with
log pi_k = ell + eta inv up to one constant for all k, which a softmax does not see. One more token, the sink,
has loglik = 0, ``sink = 1`` and ``level = log N``.

    weigh    resp = softmax_j(<loglik, slot_j> + ell_j + eta inv_j - log_count_j) slot_j       = r_i
             pi   = softmax_j(ell_j + eta inv_j - log_count_j) slot_j                          the weights
             MLP: log_resp = log resp, log_pi = log pi                                         by chords
    ratio    share = softmax_i(<slot_k, log_resp_i> + level_i) sink_i                          = 1 / (1 + g_k)
             MLP: inv = 1 / share = 1 + g_k by chords, ell = log_pi_k

The sink's own resp is pi, so its score is log pi_k + log N, and the softmax forms
N pi_k / (N pi_k + sum_i r_ik).

Source: arXiv 2604.10848 (one step of mirror descent on mixture weights in three layers). The construction is
ours; paper_notes/gallery.md proves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.gallery.mirror_bounds import Functions, MirrorBound, mirror_bound
from constructions.gallery.run import walk
from constructions.gallery.tasks import Arrays, check_at_most, check_same, gather, numbers
from constructions.language import curves
from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import pick
from constructions.language.heads import SoftmaxHead
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.scores import dot, key_only
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.tables import text_table

SOURCE = "arXiv 2604.10848 (mirror descent for mixture weights in attention)"


@dataclass(frozen=True, eq=False)
class MixtureTasks:
    """B tasks, padded with zeros.

    Attributes:
        loglik: (B, N, K) log p_k(x_i). log_weights: (B, K) of the start. counts, components: (B,) true N and
        K. single: one task was given, without a batch dimension.
    """

    loglik: Tensor
    log_weights: Tensor
    counts: Tensor
    components: Tensor
    single: bool

    __repr__ = short_repr

    @property
    def present(self) -> Tensor:
        """(B, K) components that are there."""
        places = torch.arange(self.loglik.shape[2], device=self.loglik.device)
        return places < self.components[:, None]


@dataclass(frozen=True, eq=False)
class MirrorRun:
    """Weights along a path of B tasks (no leading B where one task was given).

    Attributes:
        path: (B, L + 1, K) pi, the start and after each step; 0 at absent components. logits: (B, L + 1, K)
        ell + eta inv, whose softmax that is. evaluation: which way the weights were run.
    """

    path: Tensor
    logits: Tensor
    evaluation: Evaluation

    __repr__ = short_repr


def weigh_layer(s: Stream, rate: float, log: PiecewiseLinear) -> Layer:
    """Responsibilities and weights by two heads, their logs by the MLP."""
    q, k = s.query, s.key
    prior = key_only(k.ell) + rate * key_only(k.inv) - k.log_count
    heads = (
        SoftmaxHead(dot(q.loglik, k.slot) + prior, read=s.slot, write=s.resp),
        SoftmaxHead(prior, read=s.slot, write=s.pi),
    )
    logs = (apply(log, s.resp, s.log_resp), apply(log, s.pi, s.log_pi))
    emptied = tuple(clear(block) for block in (s.resp, s.pi, s.ell, s.inv))
    return Layer("weigh", heads=heads, mlp=(*logs, *emptied))


def ratio_layer(s: Stream, reciprocal: PiecewiseLinear, bound: float) -> Layer:
    """``share = 1 / (1 + g_k)`` by one head; the MLP inverts it and keeps log pi_k."""
    q, k = s.query, s.key
    score = dot(q.slot, k.log_resp) + k.level
    mlp = (
        pick(s.log_pi, by=s.slot, write=s.ell, bound=bound),
        apply(reciprocal, s.share, s.inv),
        *(clear(block) for block in (s.log_resp, s.log_pi, s.share)),
    )
    return Layer("ratio", heads=(SoftmaxHead(score, read=s.sink, write=s.share),), mlp=mlp)


def mirror_descent_construction(
    max_components: int, steps: int, rate: float = 0.5, pieces: int = 512, floor: float = 1e-8
) -> MirrorConstruction:
    """Build L steps for every K <= max_components and N >= K.

    Args:
        max_components: K0.
        steps: L; two layers a step, one set of weights applied L times.
        rate: eta, the step size.
        pieces: of each function. floor: weights and responsibilities below it count as it; in (0, 1).

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    check_whole(max_components=max_components, steps=steps, pieces=pieces)
    check_number(rate=rate, floor=floor)
    if not 0 < rate < 1e6:
        raise ValueError(f"rate is {rate!r}; it is positive, below 1e6")
    if not 1e-12 <= floor < 1:
        raise ValueError(f"floor is {floor!r}; it is at least 1e-12 and below 1")
    log = chords(curves.log, geometric(floor, 1.0, pieces), inputs=(0.0, 1.0))
    reciprocal = chords(curves.reciprocal, geometric(floor / 2, 1.0, pieces), inputs=(0.0, 1.0))
    K = max_components
    vectors = {"loglik": K, "slot": K, "resp": K, "pi": K, "log_resp": K, "log_pi": K}
    s = Stream(**vectors, ell=1, inv=1, share=1, sink=1, level=1, log_count=1, one=1)
    construction = Construction(
        name=f"mirror descent, {steps} step{'s' if steps > 1 else ''}, K <= {K}",
        source=SOURCE,
        stream=s,
        inputs=(s.loglik, s.slot, s.ell, s.inv, s.sink, s.level, s.log_count, s.one),
        layers=(weigh_layer(s, rate, log), ratio_layer(s, reciprocal, 1 - math.log(floor))),
        loops=steps,
    )
    return MirrorConstruction(construction, rate, floor, log, reciprocal)


@dataclass(frozen=True, eq=False)
class MirrorConstruction(ConstructedAlgorithm):
    """The weights with read-in, run and bounds. Made by :func:`mirror_descent_construction`.

    Attributes:
        rate, floor: as given. log, reciprocal: the approximated functions.
    """

    rate: float
    floor: float
    log: PiecewiseLinear
    reciprocal: PiecewiseLinear

    __repr__ = short_repr

    @property
    def max_components(self) -> int:
        """K0."""
        return self.stream.slot.width

    def check(
        self,
        loglik: Arrays,
        weights: Arrays,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> MixtureTasks:
        """The batch that :meth:`run` makes of these tasks.

        Args:
            loglik: (N, K), (B, N, K), or B arrays: log p_k(x_i), up to a constant for each i.
            weights: (K,), (B, K), or B arrays: the start. They need not sum to 1.
            dtype, device: of the tokens; logs are taken in float64 and rounded to ``dtype``.

        Raises:
            HypothesisError: shapes that do not fit together, more components than K0 or than points, a value
                that is not finite, a weight below the floor or above 1.
        """
        likelihoods, starts = (
            gather("loglik", loglik, 2, dtype, device),
            gather("weights", weights, 1, dtype, device),
        )
        (counts, components) = likelihoods.sizes.unbind(1)
        check_same("K of loglik", components, "K of weights", starts.sizes[:, 0])
        check_at_most("K", components, self.max_components, "max_components")
        if bool((counts < components).any()):
            task = int((counts < components).to(torch.int64).argmax())
            raise HypothesisError(
                f"task {task} has {int(counts[task])} points and {int(components[task])} components; "
                "at least as many points are needed"
            )
        tasks = MixtureTasks(likelihoods.values, starts.values, counts, components, likelihoods.single)
        given = starts.values[tasks.present]
        if not bool(((given >= self.floor) & (given <= 1)).all()):
            bad = given[~((given >= self.floor) & (given <= 1))][0]
            raise HypothesisError(f"a weight is {float(bad):g}; it lies between floor = {self.floor:g} and 1")
        logs = starts.values.double().masked_fill(~tasks.present, 1.0).log().to(starts.values)
        return MixtureTasks(likelihoods.values, logs, counts, components, likelihoods.single)

    def embed(self, tasks: MixtureTasks) -> tuple[Tensor, Tensor]:
        """The tokens (B, N + 1, D), the sink at place N of its task, and which of them are real."""
        s, (B, N, K) = self.stream, tasks.loglik.shape
        places = torch.arange(N + 1, device=tasks.loglik.device)
        counts, components = tasks.counts[:, None], tasks.components[:, None]
        slots = places % components
        held = (counts - slots) // components + 1
        h = tasks.loglik.new_zeros(B, N + 1, s.width)
        h[:, :N, s.loglik.slice][..., :K] = tasks.loglik
        h[..., s.slot.slice] = torch.nn.functional.one_hot(slots, self.max_components).to(h)
        h[..., s.ell.start] = tasks.log_weights.gather(1, slots)
        h[..., s.sink.start] = (places == counts).to(h)
        h[..., s.level.start] = (places == counts) * counts.double().log().to(h)
        h[..., s.log_count.start] = held.double().log().to(h)
        h[..., s.one.slice] = 1.0
        mask = places <= counts
        return h * mask[..., None], mask

    def decode(self, state: State) -> Tensor:
        """(B, K0 or N + 1) the logits ell + eta inv in float64: token k holds those of slot k."""
        ell, inv = (
            state.read(block, self.max_components)[..., 0].double()
            for block in (self.stream.ell, self.stream.inv)
        )
        return ell + self.rate * inv

    def weights(self, logits: Tensor, tasks: MixtureTasks) -> Tensor:
        """(..., K) -> pi, 0 at absent components; the leading axis is that of the tasks."""
        present = tasks.present.reshape(len(logits), *[1] * (logits.ndim - 2), -1)
        return torch.softmax(logits.masked_fill(~present, -math.inf), -1)

    def run(
        self,
        loglik: Arrays,
        weights: Arrays,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        steps: int | None = None,
        evaluation: Evaluation = "structured",
    ) -> MirrorRun:
        """Run the layers on one task or a batch, also of mixed sizes; arguments as :meth:`check`.

        Raises:
            HypothesisError: as :meth:`check`.
            ValueError: ``steps`` not a whole number from 1 on, an evaluation that is none.
        """
        steps = self.steps if steps is None else steps
        check_whole(steps=steps)
        tasks = self.check(loglik, weights, dtype, device)
        K = tasks.loglik.shape[2]
        found = walk(self, self.embed(tasks), self.decode, evaluation, steps)
        logits = torch.stack([tasks.log_weights.double(), *(t[:, :K] for t in found)], 1)
        path = self.weights(logits, tasks)
        return MirrorRun(*((path[0], logits[0]) if tasks.single else (path, logits)), evaluation)

    def error_bounds(self, tasks: MixtureTasks, logits: Tensor, dtype: torch.dtype) -> MirrorBound:
        """How far the weights of ``logits`` (B, L + 1, K), run in ``dtype``, are from mirror descent in
        float64."""
        functions = Functions(self.log, self.reciprocal, self.rate, self.floor)
        loglik, t = numbers(tasks.loglik, logits)
        return mirror_bound(loglik, tasks.counts.cpu(), tasks.present.cpu(), t, functions, dtype)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what earlier work states."""
        found, (weigh, ratio) = self.resources(), self.construction.layers
        K, hidden = self.max_components, f"{weigh.shape.hidden:,} + {ratio.shape.hidden:,}"
        formula = f"2 K0 {self.log.units} + 4 K0 + 4, {self.reciprocal.units} + 6 K0 + 2"
        rows = (
            ("layers", f"{found.layers:,}", f"2 L, L = {self.steps}", "3 L"),
            ("heads a layer", f"{found.heads}", "2 in weigh, 1 in ratio", "-"),
            ("width", f"{found.width:,}", f"6 K0 + 7, K0 = {K}", "-"),
            ("hidden units", hidden, formula, "-"),
            ("parameters", f"{found.parameters:,}", "two layers, whatever L", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-"),
        )
        return text_table(("resource", "here", "formula", "earlier work"), rows)
