"""What everything that is verified offers: one object, from which checks, searches and pages are made.

A theorem says: these weights run that algorithm, within these bounds, under these hypotheses. Ours stand in
verify/<theorem>/theorem.py; somebody else's may stand in a file of their own and needs nothing but this class
(paper_notes/your_own_theorem.md builds one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from constructions.language.assembly import Construction
from constructions.language.resources import Resources
from constructions.language.rounding import sum_above
from constructions.language.shown import short_repr
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import Evaluation, StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.language.transformer import Transformer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sizes = Mapping[str, int]
"""What an instance is sized by, as in {"d": 3, "K": 2, "N": 64}."""

States = dict[str, Tensor]
"""Named quantities along a path, each (B, L + 1, items, width): the start, then what stands after each step.

The error of an item is the Euclidean length of a difference over the last axis: means of K components are
(B, L + 1, K, d), their weights (B, L + 1, K, 1).
"""


@dataclass(frozen=True, eq=False)
class Bound:
    """How far the run may be from the reference after each step, item by item; inf where nothing is claimed.

    Attributes:
        approximation: (B, L, items) what is left in real arithmetic. 0 for a construction that is exact.
        rounding: (B, L, items) what floating point adds: the layers' in their dtype, and the reference's own
            in float64.
    """

    approximation: Tensor
    rounding: Tensor

    __repr__ = short_repr

    @classmethod
    def split(cls, run: Tensor, approximation: Tensor, reference: Tensor | float = 0.0) -> Bound:
        """What the run's bound has more is rounding (inf where nothing is claimed), and the reference's."""
        return cls(approximation, torch.where(run.isfinite(), run - approximation, torch.inf) + reference)

    @property
    def total(self) -> Tensor:
        """(B, L, items) the sum of both, rounded up."""
        return sum_above(self.approximation, self.rounding)


@dataclass(frozen=True)
class Accuracy:
    """The number that a construction is made more exact by.

    Attributes:
        name: as in "pieces". values: what a check runs at, from coarse to fine.
        order: the error is claimed to behave as ``value ** -order`` where approximation decides.
    """

    name: str
    values: tuple[float, ...]
    order: float


@runtime_checkable
class Weights(Protocol):
    """What :meth:`Theorem.construct` gives: the weights as formulas. A plain Construction is one."""

    def to_transformer(
        self, dtype: torch.dtype = ..., device: torch.device | str = ..., looped: bool = ...
    ) -> Transformer:
        """The dense weights."""
        ...

    def explain(self) -> str:
        """The layer table."""
        ...

    def resources(self) -> Resources:
        """What the compiled transformer takes."""
        ...

    def plot_weights(self) -> list[Figure]:
        """One figure a layer."""
        ...


def formulas(weights: Any) -> Construction:
    """The layers of what :meth:`Theorem.construct` gave."""
    return weights if isinstance(weights, Construction) else weights.construction


class Tasks(Protocol):
    """An instance: B tasks of one size, a dataclass whose tensors have B first, their numbers in float64."""

    def __len__(self) -> int:
        """B."""
        ...


Instance = TypeVar("Instance", bound=Tasks)
Family = Callable[[Sizes, int, torch.Generator], Instance]
"""(sizes, number of tasks, generator) -> an instance."""


class Theorem(ABC, Generic[Instance]):
    """A construction with its hypotheses, its reference and its bounds.

    Attributes:
        name: one line, for tables. key: a short word for files and the ledger, as in "em".
        source: paper and theorem. hypotheses: what must hold of an instance, in sentences.
        accuracy: what makes the construction more exact; None where it is exact in real arithmetic.
        sizes: what a check runs at, from small to large.
        most_steps: of a path; None where any number will do. 1 for an algorithm that ends with its result.
        a_step_is_a_pass: whether one pass of the layers takes each state of the path to the next.
        without: properties of the conformance suite (verify.engine.conformance) that the theorem has not
            got, each with the reason.
    """

    name: ClassVar[str]
    key: ClassVar[str]
    source: ClassVar[str]
    hypotheses: ClassVar[tuple[str, ...]]
    accuracy: ClassVar[Accuracy | None] = None
    sizes: ClassVar[tuple[Sizes, ...]]
    most_steps: ClassVar[int | None] = None
    a_step_is_a_pass: ClassVar[bool] = True
    without: ClassVar[Mapping[str, str]] = {}

    # --- what a theorem brings -------------------------------------------------------------------------

    @property
    @abstractmethod
    def families(self) -> Mapping[str, Family[Instance]]:
        """Random and hostile instances, each within the hypotheses, by name."""

    @abstractmethod
    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> Any:
        """The weights (see :class:`Weights`) that run ``steps`` steps on every instance of these sizes."""

    @abstractmethod
    def check(self, weights: Any, instance: Instance, dtype: torch.dtype) -> None:
        """Refuse, with HypothesisError, an instance outside the hypotheses."""

    @abstractmethod
    def embed(self, weights: Any, instance: Instance, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The tokens (B, N, D) that the first layer sees, and which of them are real (B, N)."""

    @abstractmethod
    def decode(self, weights: Any, instance: Instance, stream: Tensor) -> dict[str, Tensor]:
        """The quantities, each (B, items, width), that the stream (B, N, D) holds between steps."""

    @abstractmethod
    def reference(self, instance: Instance, steps: int) -> States:
        """The same path by the exact algorithm, in float64. NaN from where the algorithm is not defined."""

    @abstractmethod
    def bounds(
        self, weights: Any, instance: Instance, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """How far ``states``, which :meth:`run` made of the instance in ``dtype``, may be off."""

    def exact(self, instance: Instance, steps: int) -> States:
        """The same path in balls, of one task, within verify.balls.arithmetic.ball_arithmetic.

        The reference's torch formulas, evaluated there. A theorem with an evaluation of its own, faster or
        independent of them, overrides this.
        """
        return self.reference(instance, steps)

    def distances(self, instance: Instance, states: States, exact: States) -> States:
        """How far states of a run, floats, are from exact ones after each step: (B, L, items) by quantity.

        In balls where the exact ones are. A theorem with a quantity that no layer holds, but that a float
        formula makes of what they hold, overrides this: there the formula is evaluated in balls too.
        """
        return {
            name: torch.linalg.vector_norm(states[name][:, 1:].double() - after[:, 1:], dim=-1)
            for name, after in exact.items()
        }

    # --- what follows from it --------------------------------------------------------------------------

    def within(self, steps: int) -> int:
        """So many steps, or as many as a path has."""
        return steps if self.most_steps is None else min(steps, self.most_steps)

    @property
    def accuracies(self) -> tuple[float | None, ...]:
        """What a check runs at, from coarse to fine: None alone where the construction is exact."""
        return (None,) if self.accuracy is None else self.accuracy.values

    def rounded(self, instance: Instance, dtype: torch.dtype) -> Instance:
        """The instance in numbers that ``dtype`` holds, in float64: what both sides then see."""
        return rounded(instance, dtype)

    def task(self, instance: Instance, index: int) -> Instance:
        """Task ``index`` as an instance of one task."""
        return _with_tensors(instance, lambda x: x[index : index + 1])

    def tokens(self, weights: Any, instance: Instance, dtype: torch.dtype) -> Tokens:
        """What :meth:`embed` gives, block by block; override it to say which tokens hold the same."""
        written = formulas(weights)
        return Tokens.of_dense(written.stream, written.inputs, *self.embed(weights, instance, dtype))

    def run(
        self,
        weights: Any,
        instance: Instance,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The path of the layers: the start, then what the stream holds after each step.

        Raises:
            HypothesisError: as :meth:`check`, or a step that leaves the hypotheses on the way.
        """
        self.check(weights, instance, dtype)
        if evaluation == "structured":
            return self._structured(weights, instance, dtype, device, steps)
        transformer = weights.to_transformer(dtype, device)
        tokens, mask = (x.to(device) for x in self.embed(weights, instance, dtype))
        path = [self.decode(weights, instance, tokens)]
        with torch.no_grad():
            for _ in range(steps):
                tokens = transformer.block(tokens, None if bool(mask.all()) else mask)[-1]
                path.append(self.decode(weights, instance, tokens))
        return {name: torch.stack([state[name].cpu() for state in path], 1) for name in path[0]}

    def _structured(
        self, weights: Any, instance: Instance, dtype: torch.dtype, device: str, steps: int
    ) -> States:
        layers = StructuredEvaluator(formulas(weights), FloatArithmetic(dtype, device))
        if device == "cpu":
            tokens = self.tokens(weights, instance, dtype)
        else:
            written, (h, mask) = formulas(weights), self.embed(weights, instance, dtype)
            tokens = Tokens.of_dense(written.stream, written.inputs, h.to(device), mask.to(device))
        path = [layers.start(tokens)]
        with torch.no_grad():
            for _ in range(steps):
                path.append(layers.block(path[-1])[-1])
            states = [self.decode(weights, instance, tokens.dense()) for tokens in path]
        return {name: torch.stack([state[name].cpu() for state in states], 1) for name in states[0]}

    def resource_table(self, weights: Any) -> str:
        """What the weights take, as text. A theorem with formulas for it overrides this."""
        return weights.resources().table()


Numbers = TypeVar("Numbers")


def rounded(instance: Numbers, dtype: torch.dtype) -> Numbers:
    """A dataclass of tensors in numbers that ``dtype`` holds, in float64: such rounding is no error."""
    return _with_tensors(instance, lambda x: x.to(dtype).to(torch.float64) if x.is_floating_point() else x)


def first_tasks(instance: Numbers, tasks: int) -> Numbers:
    """The first ``tasks`` tasks of an instance."""
    return _with_tensors(instance, lambda x: x[:tasks])


def numbers_of(instance: Any) -> int:
    """How many numbers one of its tasks is given by."""
    values = (getattr(instance, field.name) for field in fields(instance))
    return sum(x[0].numel() for x in values if isinstance(x, Tensor) and x.is_floating_point() and x.dim())


def _with_tensors(instance: Any, change: Callable[[Tensor], Tensor]) -> Any:
    values = {field.name: getattr(instance, field.name) for field in fields(instance)}
    return replace(instance, **{name: change(x) for name, x in values.items() if isinstance(x, Tensor)})
