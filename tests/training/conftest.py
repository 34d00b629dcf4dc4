import os

import pytest
import torch
from training_runs import forking


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """The tensors here are tiny: a second thread only waits, and on a busy machine it waits for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="package")
def nothing_waits_for_the_disk():
    """Thousands of checkpoints here are read by the system that wrote them: fsync changes none of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def forker():
    """One process for all modules: importing torch costs seconds."""
    with forking() as found:
        yield found
