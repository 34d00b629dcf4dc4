"""Checkpoints and released models: what comes back, which is chosen, which are kept."""

import os

import numpy as np
import pytest
import torch
from checkpoint_files import filled, flip, refused, reseal, small

from training.trainer.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)
from training.trainer.tensor_files import DTYPES

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
META = {
    "loss": 0.1 + 0.2,
    "names": ["a", "é", "\ud800"],
    "nested": {"none": None, "yes": True, "big": 10**30},
}


def every_dtype(device="cpu"):
    """Random bytes of every dtype, NaNs with payloads among them; shapes and strides that need care."""
    noise = np.random.default_rng(0)
    tensors = {}
    for dtype in DTYPES:
        most = 2 if dtype == torch.bool else 256
        data = noise.integers(0, most, 30 * dtype.itemsize, dtype=np.uint8)
        tensors[str(dtype)] = torch.from_numpy(data).view(dtype).reshape(5, 6)
    base = torch.arange(24.0)
    values = torch.randn(4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    tensors |= {
        "whole": base,
        "same": base,
        "part": base[3:7],
        "transposed": base.view(4, 6).T,
        "every other": base[::2],
        "expanded": base[:1].expand(5),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "conjugate": values.conj(),
        "negative": values.conj().imag,
        "trained": torch.nn.Parameter(torch.ones(2)),
        "ä\n name": torch.ones(1),
    }
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def bits(tensor):
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.flatten().view(torch.uint8)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Nothing here depends on syncs: test_checkpoint_killed has them."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# What comes back


@pytest.mark.parametrize("device", DEVICES)
def test_every_bit_comes_back(device, tmp_path):
    saved = every_dtype(device)
    path = save_checkpoint(tmp_path / "new" / "folder", 1234, saved, META)
    assert path == tmp_path / "new" / "folder" / "step-00001234.safetensors"
    found = latest_checkpoint(path.parent, pytest.fail)
    assert found is not None
    assert (found.step, found.path, found.meta) == (1234, path, META)
    assert found.tensors.keys() == saved.keys()
    for name, tensor in saved.items():
        back = found.tensors[name]
        assert (back.dtype, back.shape, back.device.type) == (tensor.dtype, tensor.shape, "cpu"), name
        assert torch.equal(bits(back), bits(tensor)), name


def test_tensors_that_shared_memory_come_back_apart(tmp_path):
    save_checkpoint(tmp_path, 0, every_dtype(), {})
    found = latest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    found.tensors["whole"].zero_()
    assert torch.equal(found.tensors["same"], torch.arange(24.0))
    assert torch.equal(found.tensors["part"], torch.arange(3.0, 7.0))


def test_saving_changes_nothing_of_what_is_saved(tmp_path):
    saved = every_dtype()
    before = {
        name: (tensor.data_ptr(), tensor.stride(), bits(tensor).clone()) for name, tensor in saved.items()
    }
    save_checkpoint(tmp_path, 0, saved, {})
    for name, (pointer, stride, data) in before.items():
        assert (saved[name].data_ptr(), saved[name].stride()) == (pointer, stride)
        assert torch.equal(bits(saved[name]), data)


def test_equal_tensors_give_equal_bytes(tmp_path):
    saved = every_dtype()
    other = {name: saved[name].clone().contiguous() for name in reversed(saved)}
    first = save_checkpoint(tmp_path / "a", 0, saved, META)
    second = save_checkpoint(tmp_path / "b", 0, other, dict(reversed(META.items())))
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()
    other["scalar"] = torch.tensor(8)
    third = save_checkpoint(tmp_path / "c", 0, other, META)
    assert first.read_bytes() != third.read_bytes()


@pytest.mark.parametrize(
    ("saved_as", "loaded_as"), [("m.v1", "m.v1.safetensors"), ("m.v1.safetensors", "m.v1")]
)
def test_a_model_comes_back(saved_as, loaded_as, tmp_path):
    saved = {
        name: tensor
        for name, tensor in every_dtype().items()
        if "float" not in name and "complex" not in name
    }
    saved |= {str(dtype): torch.arange(2).to(dtype) for dtype in DTYPES}
    save_model(tmp_path / saved_as, saved, {"d": 8, "K": [2, 5]}, META)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.v1.json", "m.v1.safetensors"]
    tensors, config, training = load_model(tmp_path / loaded_as)
    assert (config, training) == ({"d": 8, "K": [2, 5]}, META)
    assert tensors.keys() == saved.keys()
    assert all(torch.equal(bits(tensors[name]), bits(saved[name])) for name in saved)
    save_model(tmp_path / saved_as, small(1), {}, {})
    assert torch.equal(load_model(tmp_path / loaded_as)[0]["w"], torch.ones(4))


# Which is chosen, which are kept


def test_no_checkpoint_yet(tmp_path):
    assert latest_checkpoint(tmp_path, pytest.fail) is None
    assert latest_checkpoint(tmp_path / "none", pytest.fail) is None
    (tmp_path / "step-00000001.safetensors").write_bytes(b"killed before its JSON was there")
    (tmp_path / "notes.json").write_text("{}")
    assert latest_checkpoint(tmp_path, pytest.fail) is None


@pytest.mark.parametrize(("keep", "left"), [(1, [4]), (2, [3, 4]), (5, [0, 1, 2, 3, 4])])
def test_the_newest_are_kept(keep, left, tmp_path):
    filled(tmp_path, 5, keep)
    expected = [f"step-{step:08d}{suffix}" for step in left for suffix in (".json", ".safetensors")]
    assert sorted(file.name for file in tmp_path.iterdir()) == expected


def test_steps_of_nine_digits_are_newer(tmp_path):
    for step in (99_999_999, 100_000_000):
        save_checkpoint(tmp_path, step, small(1), {})
    found = latest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 100_000_000


def test_damaged_checkpoints_do_not_count_as_kept(tmp_path):
    filled(tmp_path)
    (tmp_path / "step-00000002.safetensors").write_bytes(b"")
    save_checkpoint(tmp_path, 3, small(3), {}, keep=2)
    assert sorted(file.stem for file in tmp_path.glob("*.json")) == [f"step-{step:08d}" for step in (1, 2, 3)]
    save_checkpoint(tmp_path, 4, small(4), {}, keep=2)
    assert sorted(file.stem for file in tmp_path.iterdir()) == [f"step-{s:08d}" for s in (3, 3, 4, 4)]


def test_left_overs_are_removed_and_other_files_are_not(tmp_path):
    filled(tmp_path)
    names = ["step-00000009.safetensors", "step-00000009.json.tmp", "step-00000001.safetensors.tmp"]
    others = ["mine.tmp", "step-1.safetensors", "step-00000001.safetensors.bak"]
    for name in names + others:
        (tmp_path / name).write_bytes(b"x")
    save_checkpoint(tmp_path, 3, small(3), {})
    assert not any((tmp_path / name).exists() for name in names)
    assert all((tmp_path / name).exists() for name in others)


DAMAGES = {
    "tensors missing": (lambda tensors, side: tensors.unlink(), "cannot be read .No such file"),
    "tensors cut": (lambda tensors, side: os.truncate(tensors, 50), "safetensors: is damaged"),
    "a bit of a weight": (lambda tensors, side: flip(tensors, -1), "safetensors: is damaged"),
    "tensors of another step": (
        lambda tensors, side: tensors.write_bytes(tensors.with_stem("step-00000000").read_bytes()),
        "safetensors: is damaged",
    ),
    "JSON empty": (lambda tensors, side: os.truncate(side, 0), "json: is not strict JSON"),
    "JSON cut": (lambda tensors, side: os.truncate(side, 60), "json: is not strict JSON"),
    "not text": (lambda tensors, side: side.write_bytes(b"\xff\xfe\x00"), "json: is not strict JSON"),
    "a list": (lambda tensors, side: side.write_text("[]"), "needs a JSON object of format 'gmm-theory-tool"),
    "deep": (lambda tensors, side: side.write_text("[" * 100_000), "json: is not strict JSON"),
    "NaN": (lambda tensors, side: change(side, '"at": 2', '"at": NaN'), "json: is not strict JSON"),
    "1e999": (lambda tensors, side: change(side, '"at": 2', '"at": 1e999'), "json: is not strict JSON"),
    "another value": (lambda tensors, side: change(side, '"at": 2', '"at": 3'), "json: is damaged"),
    "version 2": (lambda tensors, side: reseal(side, version=2), "is of format version 2, needs 1"),
    "version true": (lambda tensors, side: reseal(side, version=True), "is of format version True, needs 1"),
    "step of another": (lambda tensors, side: reseal(side, step=1), "is of step 1, needs 2 as its name says"),
    "step as text": (
        lambda tensors, side: reseal(side, step="2"),
        "needs exactly format .str., version .int.",
    ),
    "an entry more": (lambda tensors, side: reseal(side, more=1), "has other entries than a checkpoint"),
    "a folder": (lambda tensors, side: (side.unlink(), side.mkdir()), "is a folder, pipe or device"),
    "a pipe": (lambda tensors, side: (tensors.unlink(), os.mkfifo(tensors)), "is a folder, pipe or device"),
    "a link": (lambda tensors, side: tensors.symlink_to(tensors.rename(side.with_name("x"))), "is a link"),
    "a released model": (
        lambda tensors, side: reseal(side, format="gmm-theory-toolkit model"),
        "is not a checkpoint, needs",
    ),
}


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_a_damaged_checkpoint(damage, tmp_path):
    filled(tmp_path)
    harm, reason = DAMAGES[damage]
    path = tmp_path / "step-00000002.safetensors"
    harm(path, path.with_suffix(".json"))
    lines = []
    found = latest_checkpoint(tmp_path, lines.append)
    assert found is not None
    assert (found.step, found.meta) == (1, {"at": 1})
    assert torch.equal(found.tensors["w"], torch.ones(4))
    (line,) = lines
    assert "\n" not in line
    with pytest.raises(CheckpointError, match=reason):
        raise CheckpointError(line)


def test_all_damaged(tmp_path):
    filled(tmp_path)
    for file in tmp_path.glob("*.json"):
        os.truncate(file, 10)
    lines = []
    refused(lambda: latest_checkpoint(tmp_path, lines.append), r"all of its checkpoints \(3\) are damaged")
    assert len(lines) == 3


def test_a_damaged_checkpoint_is_saved_again(tmp_path):
    filled(tmp_path)
    flip(tmp_path / "step-00000002.safetensors", -1)
    save_checkpoint(tmp_path, 2, small(2), {"at": 2})
    found = latest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 2


def test_the_same_checkpoint_may_be_saved_twice(tmp_path):
    filled(tmp_path)
    save_checkpoint(tmp_path, 2, small(2), {"at": "again"})
    found = latest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    assert found.meta == {"at": "again"}
