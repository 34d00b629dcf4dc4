"""A certificate says held, broken or unknown, and only what was decided."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from verify.balls.flint import Undecided
from verify.certify import certificate
from verify.certify.certificate import BITS, Certified, certify
from verify.em.theorem import EM, THEOREM_1
from verify.engine.measure import drawn, measure
from verify.engine.theorem import Bound, States, Theorem
from verify.gallery.least_squares import LEAST_SQUARES
from verify.tensor.theorem import RELU, SOFTMAX, Softmax

F64 = torch.float64


def certified(theorem: Theorem[Any], family: str, tasks: int = 2, steps: int = 2) -> list[list[Certified]]:
    sizes = theorem.sizes[0]
    weights = theorem.construct(sizes, steps, theorem.accuracies[0])
    instance = drawn(theorem, family, sizes, tasks, F64, torch.Generator().manual_seed(3))
    states = theorem.run(weights, instance, F64, steps=steps)
    return certify(theorem, weights, instance, states, F64)


@pytest.mark.parametrize("theorem", [THEOREM_1, RELU, SOFTMAX, LEAST_SQUARES], ids=lambda t: t.key)
def test_the_theorems_hold_and_errors_are_those_that_floats_show(theorem: Theorem[Any]) -> None:
    family, sizes = next(iter(theorem.families)), theorem.sizes[0]
    found = certified(theorem, family)
    weights = theorem.construct(sizes, 2, theorem.accuracies[0])
    instance = drawn(theorem, family, sizes, 2, F64, torch.Generator().manual_seed(3))
    measured = measure(theorem, weights, instance, F64, steps=2)
    for task, certificates in enumerate(found):
        assert [(one.step, one.quantity) for one in certificates] == [
            (step, name) for step in (1, 2) for name in measured.error
        ]
        for one in certificates:
            assert one.verdict == "held"
            assert one.claimed == one.items > 0
            assert 0 <= one.error.low <= one.error.high <= one.bound.low <= one.bound.high
            errors = measured.error[one.quantity][task, one.step - 1]
            rounding = measured.bound[one.quantity].rounding[task, one.step - 1]
            # The reference in float64 is off by less than the rounding that the bound allows for.
            assert bool(((errors - one.error.high).abs() <= rounding).any())


class Shrunk(Softmax):
    """The bound multiplied by 0.9 of where it is tight: the error itself."""

    factor = 0.9

    def bounds(self, weights: Any, instance: Any, states: States, dtype: torch.dtype) -> dict[str, Bound]:
        with torch._C.DisableTorchFunction():  # a number that is given, in floats and in balls
            error = torch.linalg.vector_norm(states["v"] - self.reference(instance, 2)["v"], dim=-1)[:, 1:]
            return {"v": Bound(self.factor * error, torch.zeros_like(error))}


class Attained(Shrunk):
    """A bound that is the error in float64: above it or below, as the reference's rounding has it."""

    factor = 1 + 1e-3


def test_a_bound_of_nine_tenths_of_the_error_is_broken() -> None:
    family = next(iter(SOFTMAX.families))
    assert {step.verdict for steps in certified(Shrunk(), family) for step in steps} == {"broken"}
    assert {step.verdict for steps in certified(Attained(), family) for step in steps} == {"held"}


class Exact(EM):
    """With an evaluation in balls that may be replaced."""

    asked: list[int]
    answer: Callable[[States], States]

    def exact(self, instance: Any, steps: int) -> States:
        from flint import ctx

        self.asked.append(ctx.prec)
        return self.answer(super().exact(instance, steps))


def of(answer: Callable[[States], States]) -> Exact:
    theorem = Exact()
    theorem.asked, theorem.answer = [], answer
    return theorem


def refuse(_: States) -> States:
    raise Undecided


def test_what_stays_undecided_is_unknown_and_every_precision_was_tried() -> None:
    theorem = of(refuse)
    (found,) = certified(theorem, "separated", tasks=1)
    assert {one.verdict for one in found} == {"unknown"}
    assert [one.step for one in found] == [1, 1, 2, 2]
    assert theorem.asked == list(BITS)


def test_bits_double_until_the_comparison_is_decided() -> None:
    from flint import ctx

    def wide_below_512(states: States) -> States:
        from verify.balls.array import Balls

        if ctx.prec >= 512:
            return states
        wide: dict[str, Tensor] = {}
        for name, x in states.items():
            assert isinstance(x, Balls)
            wide[name] = Balls.of([entry + certificate_ball(1e3) for entry in x.entries], x.shape)
        return wide

    theorem = of(wide_below_512)
    (found,) = certified(theorem, "separated", tasks=1)
    assert {(one.verdict, one.bits) for one in found} == {("held", 512)}


def certificate_ball(radius: float) -> Any:
    from verify.balls.flint import arb

    return arb(0, radius)


def test_nothing_is_compared_where_the_algorithm_has_no_number() -> None:
    def lost(states: States) -> States:
        return {name: x * math.nan for name, x in states.items()}

    ((first, *_),) = certified(of(lost), "separated", tasks=1)
    assert (first.verdict, first.items, first.claimed) == ("held", 0, 0)
    assert first.bound.high == math.inf


def test_a_bound_that_floats_claim_and_balls_do_not_is_unknown() -> None:
    item = Certified("held", certificate.Interval(0, 1), certificate.Interval(1, 2), 128, "x", 1, 1, 1)
    assert item.margin == 1
    assert dataclasses.replace(item, error=certificate.Interval(0, 0)).margin == math.inf
    infinite, error = certificate_ball(0) + math.inf, certificate_ball(0) + 1
    assert certificate._decided(error, infinite, True) == "unknown"
    assert certificate._decided(error, infinite, False) == "held"
    assert certificate._decided(error, certificate_ball(3), False) == "unknown"
