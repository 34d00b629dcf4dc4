"""EM steps as layers, whatever the covariances: how tasks are checked, run, and read out."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.em.run import EMRun, StepState
from constructions.em.shared import check_numbers
from constructions.em.tasks import CovarianceType, Range, TaskBatch, Tasks, check_hypotheses, gather_tasks
from constructions.language.arguments import check_whole
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.readout import AttentivePooling, slot_readout
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation, Evaluator, State
from constructions.language.structured.partitions import Tokens

MOST_STEPS = 1000
"""Where a run until convergence gives up, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class ConstructedEM(ConstructedAlgorithm, ABC):
    """EM for one kind of covariance; a subclass adds read-in and the layers.

    Attributes:
        floor, radius: as given.
        log_resp, log_pi: the logarithms of responsibilities and weights.
        covariance_type: the kind of covariances.
        eigenvalues: where theirs may lie; None where these are all the unit matrix.
    """

    floor: float
    radius: float
    log_resp: PiecewiseLinear
    log_pi: PiecewiseLinear
    covariance_type: CovarianceType
    eigenvalues: Range | None

    __repr__ = short_repr

    @property
    def max_dim(self) -> int:
        """d0."""
        return self.stream.x.width

    @property
    def max_components(self) -> int:
        """K0."""
        return self.stream.slot.width

    @functools.cached_property
    def e_place(self) -> int:
        """Where in a pass the E layer stands, from 0 on."""
        names = [self.construction.layers[number].name for number in self.construction.sequence]
        return names.index("E")

    @abstractmethod
    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """What the first layer sees, block by block.

        With ``refreshed`` what the layers compute from a state is as they would have left it; else exact.
        """

    def embed(self, tasks: TaskBatch, refreshed: bool = False) -> Tensor:
        """The same as the dense stream (B, N, D), zeros at padding; see :meth:`tokens`."""
        return self.tokens(tasks, refreshed).dense()

    def to_readout(
        self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> AttentivePooling:
        """The paper's read-out with its weights set."""
        s = self.stream
        return slot_readout(s, s.slot, s.log_pi, s.mu, dtype).to(device)

    def gather(
        self,
        X: Tasks,
        weights: Tasks,
        means: Tasks,
        covariances: Tasks | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        refreshed: bool = False,
    ) -> TaskBatch:
        """The checked batch that :meth:`run` makes of its arguments.

        Raises:
            HypothesisError: data outside the theorem's hypotheses.
        """
        self._check_dtype(dtype)
        sizes, kind = (self.max_dim, self.max_components), self.covariance_type
        tasks = gather_tasks(X, weights, means, *sizes, dtype, device, covariances, kind)
        return check_hypotheses(tasks, self.radius, self.floor, self.eigenvalues, refreshed)

    def _check_dtype(self, dtype: torch.dtype) -> None:
        """Refuse a dtype in which the layers cannot run."""
        if self.eigenvalues is not None:
            check_numbers(self.max_dim, self.radius, self.eigenvalues, dtype)

    def check(
        self,
        X: Tasks,
        weights: Tasks,
        means: Tasks,
        dtype: torch.dtype = torch.float64,
        covariances: Tasks | None = None,
    ) -> None:
        """Check the theorem's hypotheses on tasks as :meth:`run` would, without running.

        Raises:
            HypothesisError: data outside them.
        """
        self.gather(X, weights, means, covariances, dtype)

    def run(
        self,
        X: Tasks,
        weights: Tasks,
        means: Tasks,
        covariances: Tasks | None = None,
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
            covariances: of the start, laid out as in scikit-learn: (K,) spherical, (K, d) diagonal, (d, d)
                tied, (K, d, d) full, one number tied_spherical; None of unit ones.
            dtype, device: of weights and tokens; the data are rounded to ``dtype`` first.
            steps: how often the block is applied; L unless said, with ``tol`` at most this, or 1,000.
            tol: stop after a step that moved no parameter of any task by more than ``tol``.
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
        tasks = self.gather(X, weights, means, covariances, dtype, device, refreshed)
        layers, readout = self.evaluator(evaluation, dtype, device), self.to_readout(dtype, device)
        with torch.no_grad():
            start = layers.start(self.tokens(tasks, refreshed))
            path, responsibilities, converged, final = self._path(layers, start, tasks, steps, tol)
            pooled = final.pooled((self.stream.slot, self.stream.log_pi, self.stream.mu))
            found = readout(pooled.rows, tasks.component_mask, pooled.mask, pooled.counts)
        run = EMRun.of(
            tasks, found, path, responsibilities, self.eigenvalues, converged, refreshed, evaluation
        )
        return run.task(0) if tasks.single else run

    def _path(
        self, layers: Evaluator[Any], state: State, tasks: TaskBatch, steps: int, tol: float | None
    ) -> tuple[list[StepState], list[Tensor], Tensor | None, State]:
        """States from the start on, responsibilities, which tasks converged, the last state."""
        path, responsibilities, converged = [StepState.start(tasks)], [], None
        for _ in range(steps):
            for place, after in enumerate(layers.states(state)):
                state = after
                if place == self.e_place:
                    found = state.read(self.stream.resp)[:, : tasks.X.shape[1]]
                    responsibilities.append((found * tasks.token_mask[:, :, None]).mT)
            path.append(self.decode(state, tasks))
            if tol is not None:
                converged = path[-1].moved(path[-2]) <= tol
                if bool(converged.all()):
                    break
        return path, responsibilities, converged, state

    @abstractmethod
    def decode(self, state: State, tasks: TaskBatch) -> StepState:
        """Weights, means and covariances that a state between two steps holds."""
