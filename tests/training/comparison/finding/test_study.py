"""The whole study with one tiny cell: computed once, kept, trained again only where it must be."""

import dataclasses

import pytest
import torch

from training.comparison.common.studies import StudyEffort
from training.comparison.finding import design, keeping, study
from training.comparison.finding.learning.cells import Cell

TINY = Cell("tiny", "baseline", "", n_features=1, n_components=2, loops=1)
OTHER = dataclasses.replace(TINY, name="other", supervision="forced", fixed_tasks=5)
EFFORT = StudyEffort(quick=True, seed=0)


@pytest.fixture
def tiny(monkeypatch):
    """The study of two cells; what is given back counts trainings and measures."""
    cells = {cell.name: cell for cell in (TINY, OTHER)}
    for module in (study, keeping):
        monkeypatch.setattr(module, "CELLS", cells)
    few = design.FindingSettings(tuple(cells), steps=2, seeds=2, tasks=8, block_tasks=4, used=1, quick=True)
    monkeypatch.setattr(study, "settings_of", lambda quick, seed: few)
    monkeypatch.setattr("training.comparison.finding.measure.BASELINE", TINY)
    return monkeypatch


def answered(out) -> tuple[study.FindingResult, list[str]]:
    said: list[str] = []
    return study.answer(EFFORT, out, said.append), said


def test_pieces_are_kept_and_only_the_missing_ones_computed(tiny, tmp_path):
    first, said = answered(tmp_path)
    assert sorted(said) == sorted(
        ["controls", *(f"{name}: {what}" for name in ("tiny", "other") for what in ("trained", "measured"))]
    )
    again, said = answered(tmp_path)
    assert (repr(again), said) == (repr(first), [])  # NaN is unlike itself
    assert again.cells[1].networks == first.cells[1].networks
    (tmp_path / "parts" / "measure-tiny.json").unlink()
    third, said = answered(tmp_path)
    assert said == ["tiny: measured"]
    assert repr(third.cells) == repr(first.cells)


def test_weights_that_were_changed_are_trained_again(tiny, tmp_path):
    answered(tmp_path)
    path = tmp_path / "parts" / "train-other.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    _, said = answered(tmp_path)
    assert said == ["other: trained"]


def test_another_cell_of_the_same_name_is_trained_again(tiny, tmp_path):
    answered(tmp_path)
    changed = {"tiny": TINY, "other": dataclasses.replace(OTHER, learning_rate=1e-2)}
    for module in (study, keeping):
        tiny.setattr(module, "CELLS", changed)
    _, said = answered(tmp_path)
    assert said[0] == "other: trained"


def test_weights_are_read_as_they_were_trained(tiny, tmp_path):
    trained = study.timed_training(study.settings_of(True, 0), "tiny").result
    answered(tmp_path)
    run = {"study": "finding", "quick": True, "seed": 0}
    cells = keeping.Cells(tmp_path, study.COMMAND, run, keeping.TRAINING_ROOMS, threads=1)
    kept = keeping.Keeper(study.settings_of(True, 0), cells, cells).load_training("tiny")
    assert kept is not None
    for name, weight in trained.networks.weights.items():
        assert torch.equal(weight, kept.result.networks.weights[name])
    assert kept.result.watched == trained.watched


def test_the_construction_and_its_copies_have_every_block_and_nothing_learned_has_few(tiny, tmp_path):
    result, _ = answered(tmp_path)
    theorem = result.cells[0].theorem
    by_name = {control.name: control.networks for control in result.controls}
    by_use = {c.name: c.uses.networks[0][0].accuracy for c in result.controls}
    for name in ("construction", "copies under random symmetries"):
        assert all(network.has == theorem for network in by_name[name])
        # The loss of an equal function in float32: its own 2e-4 from sums of squares that err by 1e-5.
        assert all(network.loss == pytest.approx(1, rel=0.05) for network in by_name[name])
    for name in ("untrained", "unrelated weights of the same norms"):
        assert all(len(network.has) < 0.5 * len(theorem) for network in by_name[name])
        assert by_use[name] == 0
    assert by_use["construction"] == 1
    assert result.cells[0].networks[0].trained_loss != result.cells[0].networks[0].trained_loss  # NaN: fresh
    assert result.cells[1].networks[0].trained_loss > 0
