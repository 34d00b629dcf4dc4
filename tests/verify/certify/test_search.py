"""The certified search counts what it decided, and a planted fault is found by it."""

from typing import Any

import torch

from verify.certify.checks import check_certified
from verify.certify.search import certified_search
from verify.engine.search import TASKS, search
from verify.gallery.least_squares import LEAST_SQUARES, LeastSquares
from verify.tensor.theorem import SOFTMAX


def test_all_is_held_and_it_is_the_sampled_searchs_own_draws() -> None:
    found = certified_search(SOFTMAX, 24, torch.float32, 2)
    sampled = search(SOFTMAX, 24, torch.float32, 2)
    assert found.verdicts == {"held": 24}
    assert found.lines == []
    assert found.steps == sampled.steps
    assert found.claimed == sampled.claimed
    # The sampled margin is of errors against a reference in float64, far below float32's rounding.
    assert abs(found.margin / sampled.margin - 1) < 2**-20


class OneWeightOff(LeastSquares):
    """A compile fault: one weight of the dense transformer is off by 1e-9."""

    def construct(self, sizes: Any, steps: int, accuracy: float | None = None) -> Any:
        made = super().construct(sizes, steps, accuracy)
        compile_ = made.to_transformer

        def off(*args: Any, **kwargs: Any) -> Any:
            transformer = compile_(*args, **kwargs)
            with torch.no_grad():
                transformer.layers[0].attention.value[0, 0, 0] += 1e-9
            return transformer

        object.__setattr__(made, "to_transformer", off)
        return made


def test_a_compile_fault_is_found() -> None:
    found = certified_search(OneWeightOff(), TASKS, torch.float64, 0)
    assert found.verdicts["broken"] >= 1
    assert "weights" in found.lines[0]


def test_the_lines_of_the_ledger() -> None:
    lines = check_certified(LEAST_SQUARES, 0, TASKS)
    assert [line.dtype for line in lines] == ["float64", "float32"]
    for line in lines:
        assert line.passed
        assert line.evidence == "certified"
        assert line.instances == TASKS
        assert "8 held, 0 broken, 0 unknown" in line.note
