"""Two runs that differ never share a folder, and the same run again is taken."""

from pathlib import Path

import numpy as np
import pytest
from commands import TINY_GRID, invoke, snapshot

from verify import em_construction, resources, tensor_power
from verify.tensor import relu_command, relu_figures


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def folders():
    return sorted(path.name for path in Path("results").iterdir())


@pytest.mark.usefixtures("no_figures")
def test_em_construction_by_data_and_seed():
    points = np.random.default_rng(0).normal(size=(9, 2))
    np.save("mine.npy", points)
    own = ("--data", "mine.npy", "--components", 2, "--steps", 1, "--pieces", 8)
    assert invoke(em_construction.app, *own).code == 0
    assert invoke(em_construction.app, *own).code == 0  # the same again
    assert invoke(em_construction.app, *own, "--seed", 1).code == 0
    assert folders() == [f"em_construction_mine_components2_steps1_pieces8_seed{n}" for n in (0, 1)]
    before = snapshot(Path())
    np.save("mine.npy", points + 1)
    before["mine.npy"] = snapshot(Path())["mine.npy"]
    outcome = invoke(em_construction.app, *own)  # other points under the same name
    assert outcome.code == 2
    assert "holds a run of other settings (data: " in outcome.err
    outcome = invoke(em_construction.app, *own, "--floor", "1e-6", "--out", Path("results") / folders()[0])
    assert "floor: 1e-08 there, 1e-06 now" in outcome.err
    assert snapshot(Path()) == before
    assert invoke(em_construction.app, *TINY_GRID, "--steps", 1, "--out", "grid").code == 0
    assert invoke(em_construction.app, *TINY_GRID, "--steps", 2, "--out", "grid").code == 2


def test_resources_by_what_is_asked():
    assert invoke(resources.app, "--dims", 2, "--errors", "1e-1").code == 0
    outcome = invoke(resources.app, "--dims", 3, "--errors", "1e-1", "--out", Path("results") / folders()[0])
    assert outcome.code == 2
    assert "dims: [2] there, [3] now" in outcome.err


def test_tensor_power_by_tensor(monkeypatch):
    T = np.ones((2, 2, 2))
    for name in ("a", "b"):
        np.save(f"{name}.npy", T)
    monkeypatch.setattr(relu_command, "check_rational", lambda seed, instances: [])
    monkeypatch.setattr(relu_command, "check_symbolic", lambda seed, instances: [])
    monkeypatch.setattr(relu_figures, "pictures", lambda *_: [])
    own = ("--steps", 1, "--trials", 1)
    assert invoke(tensor_power.app, "--tensor", "a.npy", *own).code == 0
    assert invoke(tensor_power.app, "--tensor", "b.npy", *own).code == 0
    assert folders() == [f"tensor_power_{name}_steps1_trials1_seed0" for name in "ab"]
    np.save("a.npy", 2 * T)
    assert "tensor: " in invoke(tensor_power.app, "--tensor", "a.npy", *own).err
