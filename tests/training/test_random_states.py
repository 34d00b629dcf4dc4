"""No entry point moves a global random state: torch's, numpy's or Python's."""

import random
import warnings

import numpy as np
import pytest
import torch
from training_runs import tiny_config

from baselines.deep.dec import DEC
from baselines.deep.vade import VaDE
from baselines.em_estimator import EMMixture
from baselines.kmeans import kmeans
from baselines.methods import METHODS
from baselines.spectral_estimator import SpectralMixture
from baselines.tasks import paper_tasks, separated_tasks
from training.comparison.common.parts import Effort, subject_of
from training.serving.estimator import TGMMMixture
from training.serving.loading import load_released, load_tgmm
from training.serving.views import signed_permutations
from training.tasks import TaskDistribution, draw, plan_step
from training.trainer.loop import Trainer
from training.trainer.processes import Processes
from training.trainer.progress import check_progress


def generator():
    return torch.Generator().manual_seed(0)


def points(n_tasks=2, d=2, K=2, N=64):
    return paper_tasks(n_tasks, d, K, N, generator())


def trained():
    trainer = Trainer(tiny_config(), Processes(0, 1, torch.device("cpu")))
    trainer.begin()
    trainer.take_step()
    check_progress(trainer.model, trainer.config, 2)


def by_all_methods():
    found = points(1, 3, 2, 16)
    for method in METHODS.values():
        if not method.slow and not method.knows_prior:
            method.fit(found.X, 2, generator(), truth=found.truth)


def estimator_use(estimator):
    X = points(2, 3, 2).X.numpy()
    estimator.fit_many(X)
    estimator.fit(X[0]).sample(3)
    estimator.predict_proba(X[0])


ENTRIES = {
    "load_tgmm": lambda: load_tgmm("d2"),
    "load_tgmm with EM layers": lambda: load_tgmm("d2", 1).estimate(points().X, 2),
    "TGMMMixture": lambda: estimator_use(TGMMMixture(random_state=0)),
    "TGMMMixture, views": lambda: estimator_use(TGMMMixture(n_views=3, polish_steps=0, random_state=0)),
    "TGMMMixture, layers": lambda: estimator_use(
        TGMMMixture(polish="construction", polish_steps=1, random_state=0)
    ),
    "EMMixture": lambda: estimator_use(EMMixture(random_state=0)),
    "SpectralMixture": lambda: estimator_use(SpectralMixture(random_state=0)),
    "k-means": lambda: kmeans(points().X, 2, generator=generator()),
    "methods": by_all_methods,
    "tasks": lambda: (points(), separated_tasks(2, 2, 2, 8, generator(), separation=4.0)),
    "training's tasks": lambda: draw(TaskDistribution(2), plan_step(TaskDistribution(2), 4, 2, 0, 0)[0]),
    "views": lambda: signed_permutations(3, 5),
    "training": trained,
    "VaDE": lambda: VaDE(steps=2, pretrain_steps=2, random_state=0).fit(points().X[0].numpy()),
    "DEC": lambda: DEC(max_updates=1, pretrain_steps=2, random_state=0).fit(points().X[0].numpy()),
    "a subject of a comparison": lambda: subject_of(load_released("d2"), Effort(True, 0, 8)),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_global_random_states_stay(entry):
    torch.manual_seed(1)
    states = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ENTRIES[entry]()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
