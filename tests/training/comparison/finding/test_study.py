"""The whole study with two tiny cells: computed once, kept, trained again only where it must be."""

import dataclasses
import shutil

import pytest
import torch

from training.comparison.common.studies import StudyEffort
from training.comparison.finding import design, keeping, study
from training.comparison.finding.learning.cells import Cell

TINY = Cell("tiny", "baseline", "", n_features=1, n_components=2, loops=1)
OTHER = dataclasses.replace(TINY, name="other", supervision="forced", fixed_tasks=5)
CELLS = {cell.name: cell for cell in (TINY, OTHER)}
FEW = design.FindingSettings(tuple(CELLS), steps=2, seeds=2, tasks=8, block_tasks=4, used=1, quick=True)


@pytest.fixture(scope="module")
def tiny():
    """The study of two cells."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (study, keeping):
            patch.setattr(module, "CELLS", CELLS)
        patch.setattr(study, "settings_of", lambda quick, seed: FEW)
        patch.setattr("training.comparison.finding.measure.BASELINE", TINY)
        yield patch


def answered(out) -> tuple[study.FindingResult, list[str]]:
    said: list[str] = []
    return study.answer(StudyEffort(quick=True, seed=0), out, said.append), said


@pytest.fixture(scope="module")
def first(tiny, tmp_path_factory):
    """Its folder, its result, and what it said on the way."""
    out = tmp_path_factory.mktemp("first")
    return out, *answered(out)


@pytest.fixture
def out(first, tmp_path):
    """A copy of the folder."""
    return shutil.copytree(first[0], tmp_path / "out")


def test_every_cell_is_trained_and_measured(first):
    _, result, said = first
    pieces = [f"{name}: {what}" for name in CELLS for what in ("trained", "measured")]
    assert sorted(said) == sorted(["controls", *pieces])
    assert [cell.cell for cell in result.cells] == [TINY, OTHER]
    assert result.cells[0].watched[-1][0] == FEW.steps


def test_only_the_missing_pieces_are_computed(first, out):
    again, said = answered(out)
    assert (repr(again.cells), said) == (repr(first[1].cells), [])  # repr: NaN is unlike itself
    assert again.cells[1].networks == first[1].cells[1].networks
    (out / "parts" / "measure-tiny.json").unlink()
    third, said = answered(out)
    assert said == ["tiny: measured"]
    assert repr(third.cells) == repr(first[1].cells)


def test_weights_that_were_changed_are_trained_again(out):
    path = out / "parts" / "train-other.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert answered(out)[1] == ["other: trained"]


def test_another_cell_of_the_same_name_is_trained_again(tiny, out):
    with pytest.MonkeyPatch.context() as patch:
        changed = CELLS | {"other": dataclasses.replace(OTHER, learning_rate=1e-2)}
        for module in (study, keeping):
            patch.setattr(module, "CELLS", changed)
        assert answered(out)[1][0] == "other: trained"


def test_weights_are_read_as_they_were_trained(tiny, out):
    trained = study.timed_training(FEW, "tiny").result
    run = {"study": "finding", "quick": True, "seed": 0}
    cells = keeping.Cells(out, study.COMMAND, run, keeping.TRAINING_ROOMS, threads=1)
    kept = keeping.Keeper(FEW, cells, cells).load_training("tiny")
    assert kept is not None
    for name, weight in trained.networks.weights.items():
        assert torch.equal(weight, kept.result.networks.weights[name])
    assert kept.result.watched == trained.watched


def test_the_construction_and_its_copies_have_every_block_and_nothing_learned_has_few(first):
    result = first[1]
    theorem = result.cells[0].theorem
    by_name = {control.name: control for control in result.controls}
    for name in ("construction", "copies under random symmetries"):
        assert all(network.has == theorem for network in by_name[name].networks)
        # The loss of an equal function in float32: its own 2e-4 from sums of squares that err by 1e-5.
        assert all(network.loss == pytest.approx(1, rel=0.05) for network in by_name[name].networks)
        assert by_name[name].uses.networks[0][0].accuracy == 1
    assert by_name["construction, M head's score 0"].uses.networks[0][0].accuracy < 1
    for name in ("untrained", "unrelated weights of the same norms"):
        assert all(len(network.has) < 0.5 * len(theorem) for network in by_name[name].networks)
        assert by_name[name].uses.networks[0][0].accuracy < 0.2


def test_the_loss_on_a_fixed_set_is_there_where_there_is_one(first):
    fresh, fixed = (cell.networks[0].trained_loss for cell in first[1].cells)
    assert fresh != fresh  # NaN
    assert fixed > 0
