"""Which numbers of components a network can be asked about, and what is said where there are none."""

import pytest
import torch

from training.comparison import adaptation, attention, behaviour, causal, failures, probes
from training.comparison.common.component_counts import components_served, has_tasks, refusal_of_components
from training.comparison.common.em_answers import components_of
from training.comparison.common.parts import Effort, Subject, subject_of
from training.comparison.common.regimes import all_regimes, component_regimes, regime_tasks
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.loading import Released

PARTS = (adaptation, attention, behaviour, causal, failures, probes)


def subject(quick: bool = True, **options) -> Subject:
    config = ModelConfig(**({"n_features": 2, "layers": 1, "heads": 1, "width": 4} | options))
    return subject_of(Released("small", TGMM(config), "", {}), Effort(quick, 0, 16))


def test_what_can_be_drawn():
    assert has_tasks(2, 5)
    assert has_tasks(8, 32)
    assert has_tasks(1, 2)
    assert not has_tasks(1, 3)
    assert not has_tasks(2, 8)  # eight directions fit in a plane, and rejection hardly ever finds them
    assert not has_tasks(2, 10)  # ten do not: 2 pi / arccos(0.8) = 9.8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"components": (8,)}, "in 2 dimensions the paper's rejection finds no such means"),
        ({"n_features": 1, "components": (1, 3)}, "components are (1, 3): in one dimension"),
        ({"components": (1,)}, "K = 1 alone"),
        ({"components": (3,), "max_positions": 2}, "positions for 2 points, needs at least 2 K = 6"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_every_part_refuses_alike(options: dict, said: str):
    asked = subject(**options)
    refusals = {module.PART.refusal(asked) for module in PARTS}
    assert refusals == {refusal_of_components(asked.model.config)}
    assert said in refusals.pop()


@pytest.mark.parametrize(
    ("options", "served"),
    [
        ({"components": (1, 2, 4, 8)}, [2, 4]),
        ({"n_features": 1, "components": (1, 2, 3)}, [2]),
        ({"components": (3, 8), "max_positions": 6}, [3]),
    ],
    ids=str,
)
def test_what_can_be_drawn_is_asked_still(options: dict, served: list[int]):
    whole = subject(quick=False, **options)
    assert components_served(whole.model.config) == served
    assert [regime.n_components for regime in component_regimes(whole)] == served
    assert {regime.n_components for regime in all_regimes(whole)} <= set(served)
    assert components_of(whole) == served
    assert probes.numbers_of_components(whole) == served
    assert {module.PART.refusal(whole) for module in PARTS} == {""}


def test_a_network_without_a_finite_estimate_is_said_to_have_none():
    huge = subject(components=(2, 3))
    with torch.no_grad():
        huge.model.readin.weight.mul_(1e30)
    tasks = regime_tasks(huge, component_regimes(huge)[0], 4)
    assert tasks.network("untrained").means.isfinite().all()
    with pytest.raises(ValueError, match="the network has no estimate of a task of K = 2, N = 128: means"):
        tasks.network("learned")
