"""What the tensor power constructions share: compiling, embedding a batch, running step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.language.arguments import check_whole
from constructions.language.hypotheses import HypothesisError, LostDirectionError
from constructions.language.rounding import unit_roundoff, unrounded
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import DenseState, Evaluation, Evaluator, State
from constructions.language.structured.partitions import Tokens
from constructions.language.tables import text_table
from constructions.tensor_power.relu_bounds import (
    PathBound,
    StepError,
    contract,
    for_each_step,
    natural_scale,
    path_bound,
    steps_at_once,
)
from constructions.tensor_power.run import TensorPowerRun
from constructions.tensor_power.tensors import TensorBatch, Tensors, gather_tensors


@dataclass(frozen=True, eq=False)
class PowerIteration(ConstructedAlgorithm, ABC):
    """A construction that iterates ``v <- T(I, v, v)``, normalised or not, on tokens of its own layout.

    Attributes:
        max_dim: d0.
        normalised: whether a step ends with ``v / |v|``.
    """

    max_dim: int
    normalised: bool

    __repr__ = short_repr

    @abstractmethod
    def tokens(self, batch: TensorBatch) -> Tokens:
        """What the first layer sees, block by block."""

    def embed(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """The same as the dense stream (B, N, D), zeros at padding, and which tokens are real (B, N)."""
        tokens = self.tokens(batch)
        return tokens.dense(), tokens.places.mask

    def decode(self, h: Tensor) -> Tensor:
        """(B, N, D) -> (B, d0), the vector that the stream holds between steps: the v of the first token."""
        return self.vector(DenseState(h, None))

    def vector(self, state: State) -> Tensor:
        """(B, d0), the same of a state between steps."""
        return state.read(self.stream.v, first=1)[:, 0]

    @abstractmethod
    def _check_dtype(self, dtype: torch.dtype) -> None:
        """Refuse a dtype in which the weights cannot be written."""

    @abstractmethod
    def _check_before(self, state: State, step: int) -> None:
        """Refuse a state that the layers would take a wrong step from."""

    @abstractmethod
    def _check_within(self, states: list[State], step: int) -> None:
        """Refuse what the layers met inside the step."""

    @abstractmethod
    def step_error(
        self, T: Tensor, v: Tensor, dtype: torch.dtype, first: Tensor | bool, dims: Tensor | None = None
    ) -> StepError:
        """Errors of one step from v, run in ``dtype``.

        Args:
            T: (B, d, d, d), v: (B, d), float64.
            first: whether v was read in, and not left by an earlier step; (B,) where it differs.
            dims: (B,) the true d of each; d unless said.
        """

    @abstractmethod
    def step_approximation(self, T: Tensor, v: Tensor, dims: Tensor | None = None) -> StepError:
        """The part of :meth:`step_error` that is left in real arithmetic; arguments as there."""

    @abstractmethod
    def _promises(self) -> dict[str, tuple[str, str]]:
        """Resource -> its formula, and what the theorem promises; names as in :meth:`resource_table`."""

    def error_bounds(
        self, T: Tensors, v: Tensors, run: TensorPowerRun, dtype: torch.dtype, rounding: bool = True
    ) -> PathBound:
        """Bounds on every step of ``run``, which :meth:`run` made of the same T and v in ``dtype``.

        T and the dtype of the run are taken on trust; its start is compared. Without ``rounding`` the step
        errors are :meth:`step_approximation`, propagated along the same path.

        Raises:
            ValueError: a run that started from other vectors.
        """
        batch = unrounded(lambda: self.gather(T, v, dtype, "cpu"))
        d = batch.tokens
        start = run.path[..., 0, :].cpu()
        if start.numel() != len(batch.v) * d or not unrounded(
            lambda: torch.equal(start.reshape(-1, d).to(dtype), batch.v[:, :d])
        ):
            raise ValueError(
                f"the run, of shape {tuple(run.path.shape)}, did not start from these v in {dtype}"
            )
        tensors = batch.T[:, :d, :d, :d].to(torch.float64)
        path = run.path.to("cpu", torch.float64).reshape(len(tensors), -1, d)
        dims = batch.dims.cpu()
        steps: list[StepError] = []
        for part in steps_at_once(tensors, path.shape[1] - 1):
            states = path[:, part]
            count = states.shape[1]
            each, v, n = for_each_step(tensors, count), states.flatten(0, 1), dims.repeat_interleave(count)
            first = (torch.arange(part.start, part.stop) == 0).repeat(len(path))
            found = (
                self.step_error(each, v, dtype, first, n) if rounding else self.step_approximation(each, v, n)
            )
            steps.extend(found.by_step(count))
        return path_bound(tensors, path, steps, self.normalised)

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what the theorem and earlier work promise."""
        found = self.resources()
        here = {
            "layers": f"{found.layers:,}",
            "heads a layer": f"{found.heads:,}, the most",
            "width": f"{found.width:,}",
            "hidden units": " + ".join(f"{layer.shape.hidden:,}" for layer in self.construction.layers),
            "parameters": f"{found.parameters:,}",
            "of them not 0": f"{found.nonzeros:,}",
            "largest weight": f"{max(entry for entry, _ in found.norms.values()):.3g}",
        }
        promised = {"parameters": ("one block, whatever L", "-")} | self._promises()
        rows = [(name, value, *promised.get(name, ("", "-")), "none known") for name, value in here.items()]
        return text_table(("resource", "here", "formula", "theorem", "earlier work"), rows)

    def gather(
        self,
        T: Tensors,
        v: Tensors,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> TensorBatch:
        """The batch that :meth:`run` makes of tensors and starts; see :func:`gather_tensors`."""
        return gather_tensors(T, v, self.max_dim, dtype, device)

    def check(self, T: Tensors, v: Tensors, dtype: torch.dtype = torch.float64) -> None:
        """Check the theorem's hypotheses on tensors and starts as :meth:`run` would, without running.

        Raises:
            HypothesisError: an input outside them.
        """
        self._check_dtype(dtype)
        self._check_before(self.tokens(self.gather(T, v, dtype)), 1)

    def run(
        self,
        T: Tensors,
        v: Tensors,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        steps: int | None = None,
        evaluation: Evaluation = "structured",
    ) -> TensorPowerRun:
        """Run the layers on one tensor or a batch, also of mixed sizes.

        Args:
            T: (d, d, d), (B, d, d, d), or B arrays (d_b, d_b, d_b), symmetric or not.
            v: (d,), (B, d), or B arrays (d_b,): the starts. They need not have length 1.
            dtype, device: of weights and tokens; T and v are rounded to ``dtype`` first.
            steps: how often the block is applied; L unless said.
            evaluation: "structured", from the formulas at the cost of a contraction, or "dense", the compiled
                transformer; one function, and the bounds hold for both.

        Raises:
            HypothesisError: an input outside the theorem's hypotheses, or a step that leaves them: a vector
                that is 0 or leaves the range of ``dtype``, an offset, amplitude or norm range too small. The
                message names the step and the value.
            ValueError: ``steps`` not a whole number from 1 on, an evaluation that is none.
        """
        steps = self.steps if steps is None else steps
        check_whole(steps=steps)
        batch = self.gather(T, v, dtype, device)
        self._check_dtype(dtype)
        layers = self.evaluator(evaluation, dtype, device)
        with torch.no_grad():
            path = self._path(layers, batch, steps)
        d = batch.tokens
        run = TensorPowerRun(torch.stack(path, 1)[..., :d], batch.dims, evaluation)
        return TensorPowerRun(run.path[0], batch.dims[0], evaluation) if batch.single else run

    def _path(self, layers: Evaluator[Any], batch: TensorBatch, steps: int) -> list[Tensor]:
        state = layers.start(self.tokens(batch))
        path = [batch.v]
        for step in range(1, steps + 1):
            self._check_before(state, step)
            states = layers.block(state)
            self._check_within(states, step)
            state = states[-1]
            path.append(self.vector(state))
            self._check_range(batch.T, path, step)
        return path

    def _check_range(self, T: Tensor, path: list[Tensor], step: int) -> None:
        """Refuse a vector that is not finite, or 0 unless T(I, v, v) is, or 0 where it is normalised."""
        for task, row in enumerate(path[-1]):
            finite = bool(row.isfinite().all())
            if finite and bool(row.any()):
                continue
            contracts = _contracts(T[task], path[-2][task])
            where = f"step {step} of tensor {task}: T(I, v, v)"
            if self.normalised and contracts:
                why = (
                    f"is not 0, but leaves the range of {row.dtype} in the layers: scale T, or the start to 1"
                )
                raise LostDirectionError(f"{where} {why}", step, task)
            if self.normalised:
                raise HypothesisError(f"{where} is 0: it has no direction, take another start")
            if finite and not contracts:
                continue
            what = "is rounded to 0" if finite else "overflows"
            raise HypothesisError(
                f"step {step} of tensor {task}: v {what} in {row.dtype}; the plain iteration grows or "
                f"shrinks like lambda^(2^L - 1): {'' if step == 1 else f'take fewer than {step} steps, '}"
                "scale T, or normalise"
            )


def _contracts(T: Tensor, v: Tensor) -> bool:
    """Whether T(I, v, v) is not 0, whatever the scale of T and v; what rounding may have left counts as 0."""
    if not bool(T.any() and v.any()):
        return False
    unit_T, unit_v = (x.to(torch.float64)[None] / x.abs().max().to(torch.float64) for x in (T, v))
    rounding = (2 * len(v) + 1) * unit_roundoff(torch.float64) * natural_scale(unit_T, unit_v)
    return bool((contract(unit_T, unit_v).abs() > rounding).any())
