"""Checkpoints and released models: what comes back, which is chosen, what is refused."""

import json
import os
import struct

import numpy as np
import pytest
import torch

from training.checkpoint import CheckpointError, latest_checkpoint, load_model, save_checkpoint, save_model
from training.tensor_files import DTYPES, digest_of

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


def refused(call, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def small(value):
    return {"w": torch.full((4,), float(value))}


def filled(folder, steps=3, keep=5):
    for step in range(steps):
        save_checkpoint(folder, step, small(step), {"at": step}, keep)
    return folder


def reseal(side, **changes):
    """Change entries of a JSON side and state the digest that then fits."""
    content = json.loads(side.read_text()) | changes
    del content["sha256"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    side.write_text(json.dumps(content | {"sha256": digest_of(canonical)}))


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


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


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


# Bad input


def test_another_run_in_the_folder(tmp_path):
    filled(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    refused(
        lambda: save_checkpoint(tmp_path, 2, small(7), {}),
        "00000002.safetensors: is a checkpoint of another run",
    )
    refused(
        lambda: save_checkpoint(tmp_path, 1, small(1), {}),
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


def test_too_large_to_be_read(tmp_path):
    """Sparse files: refused by their size, before anything is read."""
    save_model(tmp_path / "m", small(1), {}, {})
    os.truncate(tmp_path / "m.safetensors", 2**32 + 1)
    refused(
        lambda: load_model(tmp_path / "m"), "m.safetensors: has 4294967297 bytes, needs at most 4294967296"
    )
    os.truncate(tmp_path / "m.json", 2**24 + 1)
    refused(lambda: load_model(tmp_path / "m"), "m.json: has 16777217 bytes, needs at most 16777216")


@pytest.mark.parametrize(
    "header",
    [
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
