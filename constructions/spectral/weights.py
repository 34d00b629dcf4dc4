"""The whole spectral algorithm as ReLU attention: from points to weights and means.

    M2 = (1/N) sum x x^T - s I,   W M2 W^T = I,   T = M3(W, W, W) = sum_k lambda_k v_k (x) v_k (x) v_k
    mu_k = lambda_k B v_k,   pi_k = lambda_k^-2 / sum_j lambda_j^-2

It answers open question 2 of arXiv 2505.11918: whitening, deflation and all. About thirty layers are stored,
forty where the variance is estimated, whatever the accuracy; loops apply them. One set of weights serves
every d <= d0, K <= min(K0, d) and N. The number of heads grows with nothing.

Source of the algorithm: Hsu and Kakade 2013; Anandkumar et al. 2014. Our W is the transpose of theirs. The
construction is ours; paper_notes/spectral_in_attention.md proves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.language import curves
from constructions.language.assembly import Construction
from constructions.language.hypotheses import HypothesisError
from constructions.language.piecewise import PiecewiseLinear, chords, uniform
from constructions.language.program import in_order
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.structured.evaluation import DenseState, Evaluation, State
from constructions.language.structured.partitions import Tokens
from constructions.language.tables import text_table
from constructions.spectral.bounds import SpectralBound, spectral_bounds
from constructions.spectral.hypotheses import failing_problems, failing_results, problems, raise_first
from constructions.spectral.moments import moments_layer, noise_layer, noise_parts, subspace_rounds
from constructions.spectral.plan import Plan
from constructions.spectral.power import tensor_power
from constructions.spectral.read_in import ReadTasks
from constructions.spectral.recovery import recovery
from constructions.spectral.run import SpectralRun
from constructions.spectral.stream import spectral_stream
from constructions.spectral.tasks import Arrays, SpectralBatch, gather_tasks
from constructions.spectral.third_moment import from_products, from_squares
from constructions.spectral.variance import estimated_variance
from constructions.spectral.whitening import whitening

SOURCE = "open question of arXiv 2505.11918: the spectral algorithm with whitening and deflation"

READ_IN = (
    "one data x xn id row next ones is_row Y found values entry "
    "start axis place lead pivot handicap turn direction"
)
WITH_PRODUCTS = "xx first second pair turned diagonal"
WITHOUT_PRODUCTS = "plus minus side centre around axis_sum axis_difference"


def spectral_construction(max_dim: int, max_components: int, **options: Any) -> SpectralConstruction:
    """Build the spectral algorithm for every d <= max_dim, K <= min(max_components, d) and N.

    Args:
        max_dim, max_components: d0 and K0.
        options: the other attributes of :class:`constructions.spectral.plan.Plan`.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    plan = Plan(max_dim, max_components, **options)
    s = spectral_stream(max_dim, max_components, plan.starts, plan.read_in, plan.variance)
    parts = noise_parts(s, plan.largest_variance)
    given, square = plan.variance == "given", None
    if plan.read_in == "squares":
        knots = uniform(-plan.reach, plan.reach, plan.pieces)
        square = chords(curves.square, knots, anchor=plan.pieces // 2)
    layers, order = in_order(
        moments_layer(s, parts if given else ()),
        *(() if given else estimated_variance(s, plan, parts)),
        noise_layer(s),
        subspace_rounds(s, plan.rounds, plan.corrections),
        *whitening(s, plan.eigenvalues[1], plan.stretches, plan.whitenings),
        *(from_products(s, plan.gate) if square is None else from_squares(s, square)),
        tensor_power(s, plan.steps, plan.tensor_bound, plan.margin),
        *recovery(s, plan),
    )
    construction = Construction(
        name=f"spectral algorithm, d <= {max_dim}, K <= {max_components}",
        source=SOURCE,
        stream=s,
        inputs=_inputs(s, plan),
        layers=layers,
        order=order,
    )
    return SpectralConstruction(construction, plan, square)


def _inputs(s: Stream, plan: Plan) -> tuple[Block, ...]:
    names = f"{READ_IN} {WITH_PRODUCTS if plan.read_in == 'products' else WITHOUT_PRODUCTS}".split()
    if plan.variance == "given":
        names.append("s")
    return tuple(getattr(s, name) for name in names)


@dataclass(frozen=True, eq=False)
class SpectralConstruction(ConstructedAlgorithm):
    """The weights with read-in and read-out. Made by :func:`spectral_construction`.

    Attributes:
        plan: sizes, numbers of iterations, ranges. square: the function of the MLP without products.
    """

    plan: Plan
    square: PiecewiseLinear | None

    __repr__ = short_repr

    def gather(
        self,
        X: Arrays,
        n_components: int | Sequence[int],
        directions: Arrays,
        basis: Arrays,
        variance: float | Sequence[float] | None = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> SpectralBatch:
        """The batch that :meth:`run` makes of its arguments; see :func:`gather_tasks`."""
        return gather_tasks(
            X,
            n_components,
            self._variance(variance),
            directions,
            basis,
            (self.plan.max_dim, self.plan.max_components, self.plan.starts),
            dtype,
            device,
        )

    def _variance(self, variance: float | Sequence[float] | None) -> float | Sequence[float] | None:
        if self.plan.variance == "estimated":
            return None
        if variance is None:
            raise HypothesisError('variance is None; give a number, or build with variance="estimated"')
        return variance

    def read_in(self, batch: SpectralBatch) -> ReadTasks:
        """The tokens of a batch, and where each kind stands."""
        return ReadTasks(self.stream, batch, self.plan.handicap)

    def tokens(self, batch: SpectralBatch) -> Tokens:
        """What the first layer sees, block by block."""
        return self.read_in(batch).tokens()

    def embed(self, batch: SpectralBatch) -> tuple[Tensor, Tensor]:
        """The same as the dense stream (B, tokens, D), zeros at padding, and which tokens are real."""
        tokens = self.tokens(batch)
        return tokens.dense(), tokens.places.mask

    def check(self, batch: SpectralBatch) -> None:
        """Refuse tasks outside the hypotheses.

        Raises:
            SpectralError: the first of them, with its status.
        """
        raise_first(failing_problems(batch, self.plan))

    def run(
        self,
        X: Arrays,
        n_components: int | Sequence[int],
        directions: Arrays,
        basis: Arrays,
        *,
        variance: float | Sequence[float] | None = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        evaluation: Evaluation = "structured",
        keep_path: bool = False,
        on_failure: Literal["raise", "mark"] = "raise",
    ) -> SpectralRun:
        """Run the layers on one task or a batch, also of mixed sizes.

        Args:
            X: points, (N, d), (B, N, d), or B arrays. n_components: K, of all or one a task.
            directions: (S, d), (B, S, d), or B arrays: starts of the power iteration, in the space of the
                points; start g is v = W g / |W g|.
            basis: (K, d), (B, K, d), or B arrays: rows from which the space of the means is looked for.
            variance: s, of all or one a task; not looked at where it is estimated.
            dtype, device: of weights and tokens; the data are rounded to ``dtype`` first.
            evaluation: "structured", from the formulas, or "dense", the compiled transformer.
            keep_path: the vectors after each step of the power iteration are kept.
            on_failure: "raise", or "mark": a task outside the hypotheses is NaN, and `failures` says why.

        Raises:
            SpectralError: a task outside the hypotheses, on the way in or out; says which and its status.
            HypothesisError: shapes that do not fit; see :func:`gather_tasks`.
            ValueError: another ``on_failure``, an evaluation that is none.
        """
        if on_failure not in ("raise", "mark"):
            raise ValueError(f"on_failure is {on_failure!r}; it is raise or mark")
        batch = self.gather(X, n_components, directions, basis, variance, dtype, device)
        failures = failing_problems(batch, self.plan)
        if on_failure == "raise":
            raise_first(failures)
        read_in, layers = self.read_in(batch), self.evaluator(evaluation, dtype, device)
        path = []
        with torch.no_grad():
            start = state = layers.start(read_in.tokens())
            for number, state in zip(self.construction.sequence, layers.states(start), strict=True):
                if keep_path and self.construction.layers[number].name in ("start", "contract"):
                    path.append(read_in.start_vectors(state))
        run = self._decode(state, read_in, evaluation, path)
        failures = failing_results(run, batch, self.plan) | failures
        if on_failure == "raise":
            raise_first(failures)
        run = run.without(failures)
        return run.task(0) if batch.single else run

    def error_bounds(
        self,
        X: Arrays,
        n_components: int | Sequence[int],
        directions: Arrays,
        basis: Arrays,
        *,
        variance: float | Sequence[float] | None = 1.0,
        dtype: torch.dtype = torch.float64,
    ) -> SpectralBound:
        """Bounds of a run in ``dtype`` against baselines/spectral.py from the same starts; tasks of one size.

        Raises:
            ValueError: tasks of several sizes. HypothesisError: see :meth:`run`.
        """
        batch = self.gather(X, n_components, directions, basis, variance, dtype)
        self.check(batch)
        (_, problem), *others = problems(batch)
        if others:
            raise ValueError(f"the tasks have {1 + len(others)} sizes; bounds are of tasks of one size")
        return spectral_bounds(problem, self.plan, dtype, self.square)

    def decode(self, h: Tensor, batch: SpectralBatch) -> SpectralRun:
        """What the final stream (B, tokens, D) holds."""
        return self._decode(DenseState(h, None), self.read_in(batch), "dense", [])

    def _decode(
        self, state: State, read_in: ReadTasks, evaluation: Evaluation, path: list[Tensor]
    ) -> SpectralRun:
        s, batch, d = self.stream, read_in.batch, read_in.d

        def rows(block: Block) -> Tensor:
            return read_in.at_rows(state.read(block))

        return SpectralRun(
            weights=rows(s.weight).diagonal(dim1=-2, dim2=-1),
            raw_weights=rows(s.raw).diagonal(dim1=-2, dim2=-1),
            means=rows(s.mu)[..., :d],
            variance=state.read(s.s, first=1)[:, 0, 0],
            tensor_eigenvalues=rows(s.values)[..., 0],
            W=rows(s.W)[..., :d],
            P=rows(s.P)[..., :d],
            path=torch.stack(path, 1) if path else None,
            n_components=batch.n_components,
            n_features=batch.n_features,
            evaluation=evaluation,
        )

    def resource_table(self) -> str:
        """What the weights take, and what it grows with."""
        found, plan = self.resources(), self.plan
        rows = (
            ("layers", f"{found.layers:,}", "applied; see explain() for the loops"),
            ("layers stored", f"{len(self.construction.layers)}", "whatever the numbers of iterations"),
            ("heads a layer", f"{found.heads}", "whatever d, K and N"),
            (
                "width",
                f"{found.width:,}",
                f"O(d0^2 + d0 K0 + S K0), d0 = {plan.max_dim}, K0 = {plan.max_components}",
            ),
            ("hidden units", f"{found.hidden:,}", "O(d0 K0 + K0^2 + S K0), and 2 K0^2 M with squares"),
            ("tokens", "N + d + d^2 + K + K^2 + S K", "N + 4 d + K + K^2 + S K with squares"),
            ("parameters", f"{found.parameters:,}", ""),
            ("of them not 0", f"{found.nonzeros:,}", ""),
        )
        return text_table(("resource", "here", "formula"), rows)
