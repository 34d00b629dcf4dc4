"""Where a run stands: errors of the network and after EM steps of the covariances that it says."""

import dataclasses

import pytest
import torch

from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution
from training.trainer.config import RunConfig, TrainingConfig
from training.trainer.progress import check_progress


def config(tasks: str, said: str) -> RunConfig:
    law = TaskDistribution(2, (2, 3), covariance=tasks)
    model = ModelConfig(2, (2, 3), layers=1, heads=1, width=8, covariance=said, standardise=said != "unit")
    return RunConfig(law, model, TrainingConfig(1, loss="divergence"))


@pytest.mark.parametrize(
    ("tasks", "said", "has_steps"),
    [
        ("unit", "unit", True),
        ("full", "unit", False),
        ("unit", "full", True),
        ("full", "full", True),
        ("diagonal", "diagonal", True),
    ],
)
def test_steps_of_em_are_of_the_covariances_that_the_network_says(
    tasks: str, said: str, has_steps: bool
) -> None:
    torch.manual_seed(0)
    run = config(tasks, said)
    found = check_progress(TGMM(run.model).eval(), run, 16)
    assert set(found) == ({"network", "polished"} if has_steps else {"network"})
    if has_steps:
        # A network of random weights puts all components at one place; ten steps of EM set them apart.
        assert all(found["polished"][K] < found["network"][K] for K in ("2", "3"))


def test_tasks_are_the_same_every_time() -> None:
    run = config("full", "full")
    torch.manual_seed(0)
    model = TGMM(run.model).eval()
    once = check_progress(model, run, 4)
    assert once == check_progress(
        model, dataclasses.replace(run, training=TrainingConfig(2, loss="divergence")), 4
    )
