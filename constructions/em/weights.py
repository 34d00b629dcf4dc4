"""Theorem 1: L steps of EM for a unit-covariance mixture as 2L layers of softmax attention.

    w_ik ~ pi_k exp(-|x_i - mu_k|^2 / 2),   mu_k <- sum_i w_ik x_i / sum_i w_ik,   pi_k <- mean_i w_ik

Token i carries the point ``x``, the one-hot ``slot`` of component ``i mod K``, the mean ``mu`` of that slot,
the whole vectors ``pi`` and ``log_pi``, ``half_norm2 = |mu|^2/2``, ``log_count`` (log of the number of tokens
with its slot), and the constant ``one``; ``resp`` and ``log_resp`` are filled by the E layer and emptied by
the M layer.

Source: arXiv 2505.11918, Theorem 1. The construction is ours; paper_notes/theorem_1_em.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.em.pieces import Pieces, Split, split_pieces
from constructions.em.read_in import slot_tokens, start_functions
from constructions.em.run import EMRun
from constructions.em.tasks import TaskBatch, Tasks, check_hypotheses, gather_tasks
from constructions.language import curves
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import SoftmaxHead
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear, chords, geometric, uniform
from constructions.language.readout import AttentivePooling, slot_readout
from constructions.language.scores import Score, dot
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation, Evaluator, State
from constructions.language.structured.partitions import Tokens
from constructions.language.tables import text_table

MOST_STEPS = 1000
"""Where a run until convergence gives up, unless told otherwise."""

LARGEST_RADIUS = 1e30
"""Beyond it squares of squares of coordinates leave float64; the pieces are spent long before."""

SOURCE = "arXiv 2505.11918, Theorem 1 (EM in softmax attention)"


def em_stream(max_dim: int, max_components: int) -> Stream:
    """The residual stream, of width ``2 d0 + 5 K0 + 3``."""
    d, K = max_dim, max_components
    return Stream(x=d, slot=K, mu=d, pi=K, log_pi=K, half_norm2=1, log_count=1, one=1, resp=K, log_resp=K)


def e_layer(s: Stream, log_resp: PiecewiseLinear) -> Layer:
    """Responsibilities by one head; the MLP takes their log and empties what the M layer will fill.

    ``log_pi`` stands on the query side and ``slot`` on the key side: that picks ``log pi_k(j)`` without a
    gate. ``log_count`` makes every component count once although its slot is held by several tokens.
    """
    q, k = s.query, s.key
    score = dot(q.x, k.mu) + dot(q.log_pi, k.slot) - k.half_norm2 - k.log_count
    return Layer(
        "E",
        heads=(SoftmaxHead(score, read=s.slot, write=s.resp),),
        mlp=(
            apply(log_resp, read=s.resp, write=s.log_resp),
            clear(s.mu),
            clear(s.pi),
            clear(s.log_pi),
            clear(s.half_norm2),
        ),
    )


def m_layer(s: Stream, log_pi: PiecewiseLinear, square: PiecewiseLinear) -> Layer:
    """Means and weights by two heads; the MLP refreshes ``log_pi`` and ``half_norm2``.

    Attending with score ``log r_jk`` weighs token j by ``r_jk / sum_j r_jk``, which is the M step.
    """
    q, k = s.query, s.key
    return Layer(
        "M",
        heads=(
            SoftmaxHead(dot(q.slot, k.log_resp), read=s.x, write=s.mu),
            SoftmaxHead(Score(), read=s.resp, write=s.pi),
        ),
        mlp=(
            apply(log_pi, read=s.pi, write=s.log_pi),
            apply(square, read=s.mu, write=s.half_norm2, scale=0.5),
            clear(s.resp),
            clear(s.log_resp),
        ),
    )


def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | Pieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    split: Split = "optimal",
) -> EMConstruction:
    """Build L steps of EM for every d <= max_dim, K <= max_components and N >= K.

    Args:
        max_dim, max_components: d0 and K0.
        steps: L; two layers a step, one block of weights applied L times.
        pieces: linear pieces a function on average, ``3 * pieces`` in all, or the exact numbers.
        floor: responsibilities and weights below it are treated as if they were at it; in (0, 1).
        radius: largest absolute coordinate of points and means.
        split: how an integer ``pieces`` is shared; see :func:`split_pieces`. The optimum depends on
            ``max_dim`` and ``radius``; pass :class:`Pieces` to compare constructions of different sizes.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    check_whole(max_dim=max_dim, max_components=max_components, steps=steps)
    smallest = torch.finfo(torch.float64).tiny
    if not smallest <= floor < 1:
        raise ValueError(f"floor is {floor!r}; it lies strictly between 0 and 1 (from {smallest:.2g} on)")
    if not 0 < radius <= LARGEST_RADIUS:
        raise ValueError(f"radius is {radius!r}; it is positive and finite, at most {LARGEST_RADIUS:g}")
    counts = pieces if isinstance(pieces, Pieces) else split_pieces(pieces, split, floor, radius, max_dim)
    log_resp = chords(curves.log, geometric(floor, 1.0, counts.log_resp), inputs=(0.0, 1.0))
    log_pi = chords(curves.log, geometric(floor, 1.0, counts.log_pi), inputs=(0.0, 1.0))
    square = chords(curves.square, uniform(-radius, radius, counts.square), anchor=counts.square // 2)
    s = em_stream(max_dim, max_components)
    construction = Construction(
        name=f"EM, {steps} step{'s' if steps > 1 else ''}, d <= {max_dim}, K <= {max_components}",
        source=SOURCE,
        stream=s,
        inputs=(s.x, s.slot, s.mu, s.pi, s.log_pi, s.half_norm2, s.log_count, s.one),
        layers=(e_layer(s, log_resp), m_layer(s, log_pi, square)),
        loops=steps,
    )
    return EMConstruction(construction, counts, floor, radius, log_resp, log_pi, square)


@dataclass(frozen=True, eq=False)
class EMConstruction(ConstructedAlgorithm):
    """The weights of Theorem 1 with read-in, read-out and error budget. Made by :func:`em_construction`.

    Attributes:
        pieces, floor, radius: as given.
        log_resp, log_pi, square: the three approximated functions.
    """

    pieces: Pieces
    floor: float
    radius: float
    log_resp: PiecewiseLinear
    log_pi: PiecewiseLinear
    square: PiecewiseLinear

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.x.width

    @property
    def max_components(self) -> int:
        """K0."""
        return self.stream.slot.width

    def to_readout(
        self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> AttentivePooling:
        """The paper's read-out with its weights set."""
        s = self.stream
        return slot_readout(s, s.slot, s.log_pi, s.mu, dtype).to(device)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what the theorem and earlier work promise."""
        found = self.resources()
        d, K = self.max_dim, self.max_components
        h1, h2, h3 = (f.units for f in (self.log_resp, self.log_pi, self.square))
        e_hidden, m_hidden = (layer.shape.hidden for layer in self.construction.layers)
        entry = max(entry for entry, _ in found.norms.values())
        rows = (
            ("layers", f"{found.layers:,}", f"2 L, L = {self.steps}", "O(L)", "O(K L)"),
            ("heads a layer", f"{found.heads}", "1 in E, 2 in M", "O(1)", "unbounded"),
            (
                "width",
                f"{found.width:,}",
                f"2 d0 + 5 K0 + 3, d0 = {d}, K0 = {K}",
                "polynomial in d",
                "exponential in d",
            ),
            (
                "hidden units, E",
                f"{e_hidden:,}",
                f"K0 {h1} + 2 (d0 + 2 K0 + 1)",
                "polynomial in d",
                "exponential in d",
            ),
            (
                "hidden units, M",
                f"{m_hidden:,}",
                f"K0 {h2} + d0 {h3} + 4 K0",
                "polynomial in d",
                "exponential in d",
            ),
            ("parameters", f"{found.parameters:,}", "one block, whatever L", "-", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-", "-"),
            ("largest weight", f"{entry:.3g}", "slope of log at the floor", "-", "-"),
        )
        return text_table(("resource", "here", "formula", "theorem", "earlier work"), rows)

    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """What the first layer sees, block by block.

        ``log_pi`` and ``half_norm2`` of the start are exact, or, with ``refreshed``, what an M layer would
        have left: the piecewise functions of the weights and means.
        """
        functions = (self.log_pi, self.square) if refreshed else None
        return slot_tokens(self.stream, tasks, *start_functions(tasks, self.floor, functions))

    def embed(self, tasks: TaskBatch, refreshed: bool = False) -> Tensor:
        """The same as the dense stream (B, N, D), zeros at padding; see :meth:`tokens`."""
        return self.tokens(tasks, refreshed).dense()

    def check(self, X: Tasks, weights: Tasks, means: Tasks, dtype: torch.dtype = torch.float64) -> None:
        """Check the theorem's hypotheses on tasks as :meth:`run` would, without running.

        Raises:
            HypothesisError: data outside them.
        """
        tasks = gather_tasks(X, weights, means, self.max_dim, self.max_components, dtype, "cpu")
        check_hypotheses(tasks, self.radius, self.floor)

    def run(
        self,
        X: Tasks,
        weights: Tasks,
        means: Tasks,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        steps: int | None = None,
        tol: float | None = None,
        refreshed: bool = False,
        evaluation: Evaluation = "structured",
    ) -> EMRun:
        """Run the layers on one task or a batch, also of mixed sizes.

        Args:
            X, weights, means: data and start; (N, d), (K,), (K, d), or with a leading B, or B arrays each.
            dtype, device: of weights and tokens; the data are rounded to ``dtype`` first.
            steps: how often the block is applied; L unless said, with ``tol`` at most this, or 1,000.
            tol: stop after a step that moved no weight and no mean of any task by more than ``tol``.
            refreshed: the start is a state of an earlier path, to be continued exactly as that run would.
            evaluation: "structured", from the formulas at the cost of EM, or "dense", the compiled
                transformer; one function, and the bounds hold for both.

        Raises:
            HypothesisError: data outside the theorem's hypotheses.
            ValueError: ``tol`` negative or not a number, ``steps`` not a whole number from 1 on, an
                evaluation that is none.
        """
        if tol is not None and not tol >= 0:
            raise ValueError(f"tol is {tol!r}; it is at least 0")
        if steps is None:
            steps = self.steps if tol is None else MOST_STEPS
        check_whole(steps=steps)
        tasks = gather_tasks(X, weights, means, self.max_dim, self.max_components, dtype, device)
        tasks = check_hypotheses(tasks, self.radius, self.floor)
        layers, readout = self.evaluator(evaluation, dtype, device), self.to_readout(dtype, device)
        with torch.no_grad():
            start = layers.start(self.tokens(tasks, refreshed))
            path, responsibilities, converged, final = self._path(layers, start, tasks, steps, tol)
            pooled = final.pooled((self.stream.slot, self.stream.log_pi, self.stream.mu))
            pooled_weights, pooled_means = readout(
                pooled.rows, tasks.component_mask, pooled.mask, pooled.counts
            )
        K, d = int(tasks.n_components.max()), int(tasks.n_features.max())
        run = EMRun(
            pooled_weights[..., :K],
            pooled_means[..., :K, :d],
            torch.stack([w for w, _ in path], 1)[..., :K],
            torch.stack([m for _, m in path], 1)[..., :K, :d],
            torch.stack(responsibilities, 1)[..., :K, :],
            tasks.n_samples,
            tasks.n_components,
            tasks.n_features,
            converged,
            refreshed,
            evaluation,
        )
        return run.task(0) if tasks.single else run

    def _path(
        self, layers: Evaluator[Any], state: State, tasks: TaskBatch, steps: int, tol: float | None
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor], Tensor | None, State]:
        """Weights and means from the start on, responsibilities, which tasks converged, the last state."""
        mask = tasks.token_mask
        path, responsibilities, converged = [(tasks.weights, tasks.means)], [], None
        for _ in range(steps):
            after_e, state = layers.block(state)
            responsibilities.append((after_e.read(self.stream.resp) * mask[:, :, None]).mT)
            path.append(self._decode(state, tasks))
            if tol is not None:
                moved = [
                    (new - old).abs().flatten(1).amax(1) for new, old in zip(path[-1], path[-2], strict=True)
                ]
                converged = torch.maximum(*moved) <= tol
                if bool(converged.all()):
                    break
        return path, responsibilities, converged, state

    def _decode(self, state: State, tasks: TaskBatch) -> tuple[Tensor, Tensor]:
        # Token k < K holds slot k, since k mod K = k and N >= K.
        present = tasks.component_mask
        means = torch.zeros_like(tasks.means)
        held = state.read(self.stream.mu, first=self.max_components)
        means[:, : held.shape[1]] = held * present[:, : held.shape[1], None]
        return state.read(self.stream.pi, first=1)[:, 0] * present, means
