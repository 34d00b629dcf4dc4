"""What is refused, each in one line: arguments, folders, files that are no model of ours."""

import json
import os
import struct

import pytest
import torch
from checkpoint_files import filled, flip, refused, reseal, small

from training.trainer.checkpoint import latest_checkpoint, load_model, save_checkpoint, save_model
from training.trainer.tensor_files import DTYPES, MOST_BYTES, digest_of


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Nothing here depends on syncs: test_checkpoint_killed has them."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_another_run_in_the_folder(tmp_path):
    filled(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    refused(
        lambda: save_checkpoint(tmp_path, 2, small(7), {}),
        "00000002.safetensors: is a checkpoint of another run",
    )
    refused(
        lambda: save_checkpoint(tmp_path, 1, small(2), {}),
        "00000002.*needs none from step 1 on; resume from it",
    )
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_no_folder_to_save_in(tmp_path):
    (tmp_path / "file").write_text("")
    refused(lambda: save_checkpoint(tmp_path / "file", 0, small(0), {}), r"not saved \(File exists\)")
    refused(
        lambda: save_checkpoint(tmp_path / "file" / "x", 0, small(0), {}), r"not saved \(Not a directory\)"
    )
    refused(lambda: latest_checkpoint(tmp_path / "file", pytest.fail), r"cannot be read \(Not a directory\)")
    refused(lambda: save_model(tmp_path / "none" / "m", small(0), {}, {}), r"not saved \(No such file")


nested: list = []
for _ in range(2000):
    nested = [nested]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"step": -1}, "step is -1, needs an integer of at least 0"),
        ({"step": True}, "step is True, needs"),
        ({"step": 1.0}, "step is 1.0, needs"),
        ({"keep": 0}, "keep is 0, needs an integer of at least 1"),
        ({"meta": {"a": (1, 2)}}, "meta would not come back equal, needs string keys, and lists"),
        ({"meta": {1: "a"}}, "meta would not come back equal"),
        ({"meta": {"a": float("nan")}}, "meta is not strict JSON"),
        ({"meta": {"a": float("inf")}}, "meta is not strict JSON"),
        ({"meta": {"a": torch.ones(1)}}, "meta is not strict JSON .*Tensor"),
        ({"meta": {"a": 10**5000}}, "meta is not strict JSON"),
        ({"meta": {"a": nested}}, "meta is not strict JSON"),
        ({"meta": {"a": "x" * 2**24}}, "json: has .* bytes, needs at most 16777216"),
        ({"tensors": {"w": [1.0]}}, "entry 'w' is of type list, needs a name .* and a tensor"),
        ({"tensors": {3: torch.ones(1)}}, "entry 3 is of type Tensor, needs a name"),
        (
            {"tensors": {"w": torch.ones(2, dtype=torch.complex128)}},
            "'w' is torch.complex128.* needs a dense .*float64",
        ),
        ({"tensors": {"w": torch.ones(2, 2).to_sparse()}}, "'w' is torch.float32, torch.sparse_coo"),
        ({"tensors": {"w": torch.ones(2, device="meta")}}, "'w' is .* on meta, needs a dense tensor"),
        ({"tensors": {"__metadata__": torch.ones(1)}}, "'__metadata__' .* needs a name other than"),
    ],
)
def test_what_cannot_be_kept(changes, match, tmp_path):
    arguments = {"step": 3, "tensors": small(3), "meta": {}, "keep": 2} | changes
    refused(lambda: save_checkpoint(filled(tmp_path), **arguments), match)
    found = latest_checkpoint(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 2


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_floating_point or d.is_complex])
def test_weights_that_are_not_finite(dtype, tmp_path):
    weights = torch.tensor([1.0, torch.nan]).to(dtype)
    refused(
        lambda: save_model(tmp_path / "m", {"ok": torch.ones(1), "w": weights}, {}, {}),
        "'w' holds NaN or inf",
    )
    assert list(tmp_path.iterdir()) == []
    save_model(tmp_path / "m", {"w": torch.ones(2).to(dtype)}, {}, {})
    checkpoint = save_checkpoint(tmp_path, 0, {"w": weights}, {})
    (tmp_path / "m.safetensors").write_bytes(checkpoint.read_bytes())
    reseal(tmp_path / "m.json", tensors_sha256=digest_of(checkpoint.read_bytes()))
    refused(lambda: load_model(tmp_path / "m"), "'w' holds NaN or inf")


@pytest.mark.parametrize("mine", ["m.safetensors", "m.json"])
def test_files_that_are_no_model_are_not_overwritten(mine, tmp_path):
    (tmp_path / mine).write_text("my notes")
    refused(lambda: save_model(tmp_path / "m", small(1), {}, {}), "m.safetensors: not overwritten, remove it")
    assert (tmp_path / mine).read_text() == "my notes"
    assert [file.name for file in tmp_path.iterdir()] == [mine]


def test_a_damaged_model_or_a_link_is_not_overwritten(tmp_path):
    save_model(tmp_path / "m", small(1), {}, {})
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "m.safetensors")
    refused(lambda: save_model(tmp_path / "link", small(2), {}, {}), "link.safetensors: not overwritten")
    flip(tmp_path / "m.safetensors", -1)
    before = (tmp_path / "m.safetensors").read_bytes()
    refused(
        lambda: save_model(tmp_path / "m", small(2), {}, {}), "m.safetensors: not overwritten.*is damaged"
    )
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_paths_that_are_no_model(tmp_path):
    save_model(tmp_path / "m", small(1), {}, {})
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "m.safetensors")
    (tmp_path / "link.json").write_bytes((tmp_path / "m.json").read_bytes())
    (tmp_path / "alone.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes())
    save_checkpoint(tmp_path, 0, small(1), {})
    refused(lambda: load_model(tmp_path), "is a folder, needs a model")
    refused(lambda: load_model(tmp_path / "folder.safetensors"), "is a folder, needs a model")
    refused(lambda: load_model(tmp_path / "link"), "link.safetensors: is a link, needs a regular file")
    refused(lambda: load_model(tmp_path / "alone"), r"alone.json: cannot be read \(No such file")
    refused(lambda: load_model(tmp_path / "none"), r"none.json: cannot be read \(No such file")
    refused(lambda: load_model(tmp_path / ".safetensors"), "names no file")
    refused(lambda: load_model(tmp_path / "step-00000000"), "step-00000000.json: is not a model")


def test_too_large_to_be_written(tmp_path, monkeypatch):
    monkeypatch.setitem(MOST_BYTES, ".safetensors", 20)
    refused(lambda: save_checkpoint(tmp_path, 0, small(0), {}), "safetensors: has .* bytes, needs at most 20")
    refused(
        lambda: save_model(tmp_path / "m", small(0), {}, {}), "safetensors: has .* bytes, needs at most 20"
    )
    assert list(tmp_path.iterdir()) == []


def test_too_large_to_be_read(tmp_path):
    """Sparse files: refused by their size, before anything is read."""
    save_model(tmp_path / "m", small(1), {}, {})
    os.truncate(tmp_path / "m.safetensors", 2**32 + 1)
    refused(
        lambda: load_model(tmp_path / "m"), "m.safetensors: has 4294967297 bytes, needs at most 4294967296"
    )
    os.truncate(tmp_path / "m.json", 2**24 + 1)
    refused(lambda: load_model(tmp_path / "m"), "m.json: has 16777217 bytes, needs at most 16777216")


def with_header(dtype, shape):
    """A tensors file without data."""
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    "header",
    [
        with_header("F4", [0]),
        with_header("F32", [0, 2**63]),
        with_header("F32", [0, 2, 2**62]),
        with_header("F32", [1]),
        b"",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{",
    ],
)
def test_hostile_header_with_the_right_digest(header, tmp_path):
    save_model(tmp_path / "m", small(1), {}, {})
    (tmp_path / "m.safetensors").write_bytes(header)
    reseal(tmp_path / "m.json", tensors_sha256=digest_of(header))
    refused(lambda: load_model(tmp_path / "m"), "m.safetensors: is not a safetensors file")


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def test_a_pickle_is_never_opened(tmp_path):
    save_model(tmp_path / "m", small(1), {}, {})
    torch.save({"w": Bomb(tmp_path / "exploded")}, tmp_path / "m.safetensors")
    refused(lambda: load_model(tmp_path / "m"), "m.safetensors: is damaged")
    reseal(tmp_path / "m.json", tensors_sha256=digest_of((tmp_path / "m.safetensors").read_bytes()))
    refused(lambda: load_model(tmp_path / "m"), "m.safetensors: is not a safetensors file")
    assert not (tmp_path / "exploded").exists()
