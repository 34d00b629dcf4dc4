"""Shared by the tests of behaviour and adaptation: tasks on which the network says what it is told."""

import functools
from dataclasses import dataclass, replace

import torch
from model_instances import small_model

from baselines.mixture import Mixture
from training.comparison.common.parts import Effort, Subject
from training.comparison.common.regimes import Regime, regime_tasks
from training.model.settings import ModelConfig
from training.serving.loading import Released

REGIME = Regime(2, 3, 48)


def subject(components: tuple[int, ...] = (2, 3), tasks: int = 8, quick: bool = True, **options) -> Subject:
    model = small_model(options, components=components).eval().requires_grad_(False)
    other = small_model(options, components=components, seed=1).eval().requires_grad_(False)
    return Subject(Released("small", model, "", {}), other, Effort(quick, 0, tasks))


@dataclass(frozen=True)
class Answers:
    """A network that knows what to say."""

    config: ModelConfig
    known: object

    def estimate(self, X: torch.Tensor, n_components: int) -> Mixture:
        return self.known


class Kept(dict):
    """What RegimeTasks made: its networks' estimates are its own, all else is any subject's."""

    def __init__(self, shared: dict):
        super().__init__()
        self.shared = shared

    def place(self, key) -> dict:
        return super() if key[0] == "network" else self.shared  # type: ignore[return-value]

    def __contains__(self, key) -> bool:
        return self.place(key).__contains__(key)

    def __getitem__(self, key):
        return self.place(key).__getitem__(key)

    def __setitem__(self, key, value) -> None:
        self.place(key).__setitem__(key, value)


@functools.cache
def made_by_all(regime: Regime, n_tasks: int) -> dict:
    """Tasks of a regime and what algorithms say of them, for all tests here (all with short_runs)."""
    return {}


def planted(answer, regime: Regime = REGIME, n_tasks: int = 24):
    """Tasks on which the learned network says answer(tasks)."""
    owner = subject(tuple(sorted({2, 3, regime.n_components})), n_tasks)
    asked = regime_tasks(owner, regime, n_tasks)
    asked._made = Kept(made_by_all(regime, n_tasks))
    model = Answers(owner.model.config, answer(asked))
    found = regime_tasks(replace(owner, released=replace(owner.released, model=model)), regime, n_tasks)
    found._made = Kept(made_by_all(regime, n_tasks))
    return found
