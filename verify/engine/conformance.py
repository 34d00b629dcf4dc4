"""What every theorem must pass, in one line of somebody's test file:

    TestMine = conformance(MINE)

Each property is one test, run in float32 and float64 where numbers are compared. A theorem that has not got a
property says so, with the reason, in ``Theorem.without``; its test is then skipped with these words.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from constructions.language.counts import count
from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr
from verify.engine.measure import Measured, drawn, every_path, measure
from verify.engine.requirement import PropertyError, require
from verify.engine.second_readings import (
    every_weight_is_what_the_formulas_say,
    the_runtime_agrees_with_a_second_implementation,
)
from verify.engine.theorem import Theorem, formulas

DTYPES = (torch.float64, torch.float32)
TASKS, STEPS = 3, 2


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A theorem at one size: its finest weights, and an instance of its first family."""

    theorem: Theorem[Any]
    weights: Any
    instance: Any
    dtype: torch.dtype

    __repr__ = short_repr

    @classmethod
    def of(cls, theorem: Theorem[Any], dtype: torch.dtype = torch.float64, family: str | None = None) -> Case:
        sizes = theorem.sizes[0]
        name = family or next(iter(theorem.families))
        g = torch.Generator().manual_seed(0)
        instance = drawn(theorem, name, sizes, TASKS, dtype, g)
        weights = theorem.construct(sizes, theorem.within(STEPS), theorem.accuracies[-1])
        return cls(theorem, weights, instance, dtype)

    def measured(self) -> Measured:
        steps = self.theorem.within(STEPS)
        return measure(self.theorem, self.weights, self.instance, self.dtype, steps=steps)

    def tokens(self) -> tuple[Tensor, Tensor]:
        return self.theorem.embed(self.weights, self.instance, self.dtype)

    def outside(self, stream: Tensor) -> dict[str, int]:
        """How many items of a final stream are further from the reference than the bound allows."""
        measured = self.measured()
        found = self.theorem.decode(self.weights, self.instance, stream)
        off = {}
        for name in measured.reference:
            value = found[name]
            error = torch.linalg.vector_norm(value.double() - measured.reference[name][:, -1], dim=-1)
            kept = error <= measured.bound[name].total[:, -1]
            off[name] = int((~kept & measured.compared[name][:, -1]).sum())
        return off


def every_family_and_size_is_within_its_bounds(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """Also the bounds say something: most are finite."""
    steps, claimed = 0, 0
    for _, at, found in every_path(theorem, TASKS, STEPS, dtype, torch.Generator().manual_seed(1)):
        if found is not None:
            require(not bool(found.broken().any()), f"{at}: bound / error is {found.margin():.3g}")
            steps, claimed = steps + found.claimed().numel(), claimed + int(found.claimed().sum())
    require(steps > 0, "every family was refused")
    require(claimed >= steps / 2, f"{claimed} of {steps} bounds are finite")


def a_task_alone_is_within_the_bounds_of_the_batch(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    case = Case.of(theorem, dtype)
    for index in range(TASKS):
        alone = dataclasses.replace(case, instance=theorem.task(case.instance, index))
        require(not bool(alone.measured().broken().any()), f"task {index} alone leaves its bound")


def looped_and_unrolled_weights_are_within_the_bounds(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    case = Case.of(theorem, dtype)
    tokens, mask = case.tokens()
    for looped in (True, False):
        transformer = case.weights.to_transformer(dtype, "cpu", looped)
        with torch.no_grad():
            off = case.outside(transformer(tokens, mask))
        require(not any(off.values()), f"items outside their bounds: {off}")


def the_structured_evaluation_is_within_the_bounds(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """Every family, by the formulas instead of the dense weights, and a batch as well as its tasks alone."""
    compared = 0
    for name in theorem.families:
        case = Case.of(theorem, dtype, name)
        for instance in (case.instance, theorem.task(case.instance, 0)):
            try:
                steps = theorem.within(STEPS)
                found = measure(theorem, case.weights, instance, dtype, "cpu", steps, "structured")
            except HypothesisError:
                continue
            require(not bool(found.broken().any()), f"{name}: bound / error is {found.margin():.3g}")
            compared += sum(int(where.sum()) for where in found.compared.values())
    require(compared > 0, "every family was refused")


def padding_changes_nothing(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """Two tokens of large numbers behind the real ones, masked."""
    case = Case.of(theorem, dtype)
    tokens, mask = case.tokens()
    padded = torch.cat([tokens, torch.full_like(tokens[:, :2], 1e3)], 1)
    behind = torch.cat([mask, torch.zeros_like(mask[:, :2])], 1)
    with torch.no_grad():
        off = case.outside(case.weights.to_transformer(dtype)(padded, behind)[:, : tokens.shape[1]])
    require(not any(off.values()), f"items outside their bounds: {off}")


def the_bounds_tell_a_missing_head(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """Each head in turn writes nothing: some family leaves its bounds, or is no number any more."""
    for layer, index in _heads(Case.of(theorem, dtype).weights):
        noticed = any(_without_head(Case.of(theorem, dtype, f), layer, index) for f in theorem.families)
        require(noticed, f"head {index + 1} of layer {layer + 1} is not needed by any family")


def _heads(weights: Any) -> list[tuple[int, int]]:
    layers = formulas(weights).layers
    return [(number, index) for number, layer in enumerate(layers) for index in range(len(layer.all_heads))]


def _without_head(case: Case, layer: int, index: int) -> bool:
    transformer = case.weights.to_transformer(case.dtype)
    tokens, mask = case.tokens()
    with torch.no_grad():
        transformer.layers[layer].attention.output[index].zero_()
        return any(case.outside(transformer(tokens, mask)).values())


def a_number_that_is_none_is_refused(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    case = Case.of(theorem, dtype)
    for field in dataclasses.fields(case.instance):
        value = getattr(case.instance, field.name)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() == 0:
            continue
        broken = value.clone()
        broken.view(-1)[0] = torch.nan
        try:
            theorem.run(case.weights, dataclasses.replace(case.instance, **{field.name: broken}), dtype)
        except HypothesisError:
            continue
        raise PropertyError(f"{field.name} with NaN in it was taken")


def a_run_leaves_the_instance_as_it_was(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    case = Case.of(theorem, dtype)
    before = copy.deepcopy(case.instance)
    case.measured()
    require(not _changed(case.instance, before), f"changed: {_changed(case.instance, before)}")


def a_seed_decides_every_number(theorem: Theorem[Any]) -> None:
    for name in theorem.families:
        one, again = (Case.of(theorem, family=name).instance for _ in range(2))
        require(not _changed(one, again), f"{name} drew others of the same seed: {_changed(one, again)}")


def _changed(one: Any, other: Any) -> list[str]:
    """Names of the tensors of two instances that are not the same numbers; NaN is none."""
    names = [field.name for field in dataclasses.fields(one) if isinstance(getattr(one, field.name), Tensor)]
    return [name for name in names if not torch.equal(getattr(one, name), getattr(other, name))]


def weights_survive_copying(theorem: Theorem[Any]) -> None:
    case = Case.of(theorem)
    state = case.weights.to_transformer().state_dict()
    for name, value in copy.deepcopy(case.weights).to_transformer().state_dict().items():
        require(torch.equal(value, state[name]), f"{name} of a copy is another one")


def the_layer_table_names_every_block_that_is_read(theorem: Theorem[Any]) -> None:
    weights = Case.of(theorem).weights
    text = weights.explain()
    heads = [head for layer in formulas(weights).layers for head in layer.all_heads]
    read = {block.whole.name for head in heads for block in (head.read, *head.score.reads)}
    missing = sorted(name for name in read if name not in text)
    require(not missing, f"the table does not name {missing}")
    require(theorem.source.split(",")[0] in text, "the table does not name the source")


def counts_from_the_formulas_are_those_of_the_weights(theorem: Theorem[Any]) -> None:
    weights = Case.of(theorem).weights
    counted, measured = count(formulas(weights)), weights.resources()
    for name in ("layers", "heads", "head_dim", "width", "hidden", "parameters", "nonzeros"):
        ours, theirs = getattr(counted, name), getattr(measured, name)
        require(ours == theirs, f"{name}: {ours} by the formulas, {theirs} of the weights")
    in_table = f"{measured.layers:,}" in theorem.resource_table(weights)
    require(in_table, f"the resource table does not say {measured.layers} layers")


def one_figure_a_layer(theorem: Theorem[Any]) -> None:
    weights = Case.of(theorem).weights
    drawn_layers, layers = len(weights.plot_weights()), len(formulas(weights).layers)
    require(drawn_layers == layers, f"{drawn_layers} figures of {layers} layers")


def the_error_falls_at_the_order_claimed(theorem: Theorem[Any]) -> None:
    """From the coarsest to the finest accuracy the bound on approximation of an item falls as claimed.

    What counts is the median over items of what is left of each: a median of bounds would compare one
    quantity at the coarsest value with another at the finest. Up to a factor 2: at the coarsest value the
    higher orders may be as large as the leading one. An order that is wrong by 1 changes the ratio by the
    range of the values, which must therefore be above 4.
    """
    accuracy = theorem.accuracy
    if accuracy is None:
        raise ValueError(f"{theorem.key} is exact, there is no order")
    if not accuracy.values[-1] > 4 * accuracy.values[0]:
        raise ValueError(
            f"{theorem.key}: accuracy runs over {accuracy.values}; a range above 4 tells the order"
        )
    ends = []
    for value in (accuracy.values[0], accuracy.values[-1]):
        case = Case.of(theorem)
        case = dataclasses.replace(case, weights=theorem.construct(theorem.sizes[0], 1, value))
        found = measure(theorem, case.weights, case.instance, torch.float64, steps=1)
        ends.append(torch.cat([bound.approximation[:, 0].flatten() for bound in found.bound.values()]))
    fallen = float((ends[1] / ends[0])[(ends[0] > 0) & (ends[1] > 0)].median())
    wanted = (accuracy.values[-1] / accuracy.values[0]) ** -accuracy.order
    require(wanted / 2 <= fallen <= wanted * 2, f"falls to {fallen:.3g}, claimed {wanted:.3g}")


PROPERTIES: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        every_family_and_size_is_within_its_bounds,
        a_task_alone_is_within_the_bounds_of_the_batch,
        looped_and_unrolled_weights_are_within_the_bounds,
        the_structured_evaluation_is_within_the_bounds,
        padding_changes_nothing,
        the_bounds_tell_a_missing_head,
        a_number_that_is_none_is_refused,
        a_run_leaves_the_instance_as_it_was,
        a_seed_decides_every_number,
        weights_survive_copying,
        the_layer_table_names_every_block_that_is_read,
        counts_from_the_formulas_are_those_of_the_weights,
        every_weight_is_what_the_formulas_say,
        the_runtime_agrees_with_a_second_implementation,
        one_figure_a_layer,
        the_error_falls_at_the_order_claimed,
    )
}


def conformance(theorem: Theorem[Any]) -> type:
    """A class of tests for pytest, one a property and dtype; ``without`` may name one of a dtype alone.

    Raises:
        ValueError: ``without`` names what is no property.
    """
    in_a_dtype = {f"{name}_in_{_label(dtype)}" for name in PROPERTIES for dtype in DTYPES}
    if unknown := sorted(theorem.without.keys() - PROPERTIES.keys() - in_a_dtype):
        raise ValueError(f"without names {unknown}; the properties are {', '.join(PROPERTIES)}")
    tests: dict[str, Any] = {"__doc__": f"{theorem.name} in the conformance suite."}
    without = dict(theorem.without)
    if theorem.accuracy is None:
        without.setdefault(the_error_falls_at_the_order_claimed.__name__, "exact in real arithmetic")
    for name, prove in PROPERTIES.items():
        if "dtype" in inspect.signature(prove).parameters:
            for dtype in DTYPES:
                label = f"{name}_in_{_label(dtype)}"
                reason = without.get(name, without.get(label))
                tests[f"test_{label}"] = _test(theorem, reason, prove, dtype)
        else:
            tests[f"test_{name}"] = _test(theorem, without.get(name), prove)
    return type("Conformance", (), tests)


def _label(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _test(
    theorem: Theorem[Any], reason: str | None, prove: Callable[..., None], *dtype: torch.dtype
) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        if reason is not None:
            raise SkipTest(f"{theorem.key}: {reason}")
        prove(theorem, *dtype)

    test.__doc__ = prove.__doc__
    return test
