"""Theorem 2, in ReLU and in softmax attention, in the form that everything verified has.

v <- T(I, v, v) / |T(I, v, v)|        or without the division
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from baselines.robust_tensor_power import tensor_power_iteration
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import Evaluation
from constructions.tensor_power import relu, softmax
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import reference_bound
from constructions.tensor_power.run import TensorPowerRun
from verify.engine.theorem import Accuracy, Bound, Family, Sizes, States, Theorem
from verify.tensor.data import TensorProblem
from verify.tensor.families import (
    LONG,
    STARTS,
    TENSORS,
    VANISHING,
    hostile_starts,
    hostile_tensors,
)


class TensorPower(Theorem[TensorProblem]):
    """What all forms share.

    The state is v; its error is a Euclidean length, and without the norm each entry has a bound as well.

    Attributes:
        normalised: whether a step divides by the length.
        decades: T is scaled by ``10^-decades`` to ``10^decades``, each task by its own power.
    """

    sizes = ({"d": 2, "d0": 2}, {"d": 1, "d0": 2}, {"d": 5, "d0": 6})
    normalised: ClassVar[bool] = True
    decades: ClassVar[float] = 6.0

    @property
    def families(self) -> Mapping[str, Family[TensorProblem]]:
        """Every kind of tensor with every kind of start."""
        return {f"{T} tensor, {v} start": partial(self._draw, T, v) for T in TENSORS for v in STARTS}

    def _draw(
        self, tensor: str, start: str, sizes: Sizes, tasks: int, generator: torch.Generator
    ) -> TensorProblem:
        d = sizes["d"]
        T = hostile_tensors(tensor, tasks, d, generator)
        if self.normalised and tensor in VANISHING:  # v v <- v v + what the family adds: not 0
            T = T + torch.eye(d).double()[:, :, None] * torch.eye(d).double()[:, None, :]
        power = self.decades * (2 * torch.rand(tasks, generator=generator, dtype=torch.float64) - 1)
        T = T / d * 10 ** power[:, None, None, None]
        return TensorProblem(f"{tensor}, {start}", T, hostile_starts(start, tasks, d, generator))

    def check(self, weights: PowerIteration, instance: TensorProblem, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(instance.T, instance.v, dtype)

    def embed(
        self, weights: PowerIteration, instance: TensorProblem, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.gather(instance.T, instance.v, dtype))

    def decode(self, weights: PowerIteration, instance: TensorProblem, stream: Tensor) -> States:
        """v, and its entries where they have bounds of their own."""
        return self._quantities(weights.decode(stream)[:, : instance.dim])

    def run(
        self,
        weights: PowerIteration,
        instance: TensorProblem,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run, which refuses a step that leaves the hypotheses."""
        on = {"dtype": dtype, "device": device, "evaluation": evaluation}
        found = weights.run(instance.T, instance.v, steps=steps, **on)
        return self._quantities(found.path.cpu())

    def _quantities(self, v: Tensor) -> States:
        whole = {"v": v[..., None, :]}
        return whole if self.normalised else whole | {"entries": v[..., None]}

    def reference(self, instance: TensorProblem, steps: int) -> States:
        """The iteration in float64."""
        return self._quantities(self._path(instance, steps))

    def _path(self, instance: TensorProblem, steps: int) -> Tensor:
        marked = tensor_power_iteration(instance.T, instance.v, steps, self.normalised, on_failure="mark")
        return marked.path

    def exact(self, instance: TensorProblem, steps: int) -> States:
        """The iteration in balls, about its own direction."""
        from verify.balls.array import one_task
        from verify.certify.references.tensor_power import tensor_power_states

        return {**one_task(tensor_power_states(instance.T[0], instance.v[0], steps, self.normalised))}

    def bounds(
        self, weights: PowerIteration, instance: TensorProblem, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """The path bound with all step errors, and with their approximation alone; rounding is the rest."""
        path = states["v"][..., 0, :]
        run = TensorPowerRun(path, torch.full((len(path),), instance.dim), "dense")
        whole, exact = (
            weights.error_bounds(instance.T, instance.v, run, dtype, rounding) for rounding in (True, False)
        )
        reference = unrounded(lambda: self._path(instance, run.steps))
        # Where the iteration is not defined nothing is compared: any vector serves.
        reference = torch.where(reference.isnan(), path[:, :1].double(), reference)
        own = reference_bound(instance.T, reference, self.normalised)
        found = {"v": Bound.split(*(part.error[:, 1:, None] for part in (whole, exact, own)))}
        if not self.normalised:
            found["entries"] = Bound.split(*(part.entries[:, 1:] for part in (whole, exact, own)))
        return found

    def resource_table(self, weights: PowerIteration) -> str:
        """With the formulas."""
        return weights.resource_table()


class Relu(TensorPower):
    """2 d0 heads and an RMS norm: exact in real arithmetic."""

    name, key = "tensor power iteration, ReLU attention, RMS norm", "tensor-power"
    source = relu.SOURCE
    hypotheses = (
        "T and v are finite, v is not 0, d <= d0",
        "T(I, v, v) is not 0 on the way, and its square stays in the range of the dtype",
    )
    form = staticmethod(partial(relu.tensor_power_construction, normalise="rms"))

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> PowerIteration:
        """The weights of the form."""
        return self.form(sizes["d0"], steps)


class ReluPlain(Relu):
    """Without a norm."""

    name, key = "tensor power iteration, ReLU attention", "tensor-power-plain"
    hypotheses = (Relu.hypotheses[0], "v, like lambda^(2^L - 1), stays in the range of the dtype")
    normalised, decades = False, 0.0
    form = staticmethod(relu.tensor_power_construction)


class ReluOffset(Relu):
    """d0 + 1 heads, given a bound on v."""

    name, key = "tensor power iteration, ReLU attention, d + 1 heads", "tensor-power-offset"
    offset = LONG**2 + 0.5
    hypotheses = (*Relu.hypotheses, f"|v_j v_m| <= {offset}")
    form = staticmethod(partial(relu.tensor_power_construction, offset=offset, normalise="rms"))


class ReluPiecewise(Relu):
    """A piecewise-linear norm: exact in direction, of length 1 up to its chords."""

    name, key = "tensor power iteration, ReLU attention, piecewise norm", "tensor-power-piecewise"
    norms = (1e-4, 1e2)
    hypotheses = (*Relu.hypotheses, f"{norms[0]:g} <= |T(I, v, v)| <= {norms[1]:g}")
    accuracy = Accuracy("pieces", (64, 1024), order=2)
    decades = 0.0
    form = staticmethod(partial(relu.tensor_power_construction, normalise="piecewise", norm_range=norms))

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> PowerIteration:
        """The weights, with so many pieces."""
        return self.form(sizes["d0"], steps, pieces=int(accuracy or 1))


class Softmax(TensorPower):
    """p pairs of softmax heads a product, and an RMS norm."""

    name, key = "tensor power iteration, softmax attention, 2 pairs", "softmax-tensor-power"
    source = softmax.SOURCE
    hypotheses = (*Relu.hypotheses, f"|v_k| <= {LONG:g}", "e^c / eps is in the range of the dtype")
    pairs: ClassVar[int] = 2
    sink: ClassVar[float] = 36.0
    accuracy = Accuracy("1/eps", (4.0, 64.0), order=2 * pairs)

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> PowerIteration:
        """The weights; their bound on |v_k| covers a long start."""
        epsilon = 1 / (accuracy or 1.0)
        return softmax.softmax_tensor_power_construction(
            sizes["d0"], steps, epsilon, self.pairs, self.sink, bound=LONG
        )


RELU, SOFTMAX = Relu(), Softmax()
RELU_PLAIN, RELU_OFFSET, RELU_PIECEWISE = ReluPlain(), ReluOffset(), ReluPiecewise()
