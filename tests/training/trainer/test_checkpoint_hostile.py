"""Files that something else wrote or changed: the same content comes back, or else CheckpointError."""

import json
import struct

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.trainer.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)
from training.trainer.tensor_files import DTYPES, digest_of

TENSORS = {
    "weights": torch.arange(6.0).view(2, 3),
    "empty": torch.empty(0, 2, dtype=torch.int32),
    "half": torch.ones(3).half(),
}
CONFIG = {"d": 8, "K": [2, 5], "note": "né"}
FACTS = {"seed": 0, "loss": 0.1, "steps": 100, "none": None, "polish": True}
STEP, META = 12, {"seconds": 1.5, "config": CONFIG}
SUFFIXES = (".safetensors", ".json")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, TENSORS, CONFIG, FACTS)
    return path, {path.with_suffix(suffix): path.with_suffix(suffix).read_bytes() for suffix in SUFFIXES}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = save_checkpoint(tmp_path_factory.mktemp("run"), STEP, TENSORS, META)
    return path, {path.with_suffix(suffix): path.with_suffix(suffix).read_bytes() for suffix in SUFFIXES}


@st.composite
def changed(draw, data):
    """`data` with bits flipped, bytes put in or taken out, or an end cut off."""
    place = draw(st.integers(0, len(data) - 1))
    how = draw(st.sampled_from(["flip", "cut", "put in", "take out"]))
    if how == "flip":
        return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
    if how == "cut":
        return data[:place]
    if how == "put in":
        return data[:place] + draw(st.binary(min_size=1, max_size=9)) + data[place:]
    return data[:place] + data[place + draw(st.integers(1, 9)) :]


def load(call):
    """What `call` returns, or None where it raises CheckpointError in one line."""
    try:
        return call()
    except CheckpointError as problem:
        said = str(problem)
    assert "\n" not in said
    return None


def check_tensors(found):
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_model(model, data):
    path, files = model
    for file, content in files.items():
        file.write_bytes(data.draw(changed(content)) if data.draw(st.booleans()) else content)
    found = load(lambda: load_model(path))
    if found is not None:
        check_tensors(found[0])
        assert found[1:] == (CONFIG, FACTS)
    else:
        assert any(file.read_bytes() != content for file, content in files.items())


@settings(max_examples=300)
@given(st.data())
def test_a_changed_checkpoint(checkpoint, data):
    path, files = checkpoint
    for file, content in files.items():
        file.write_bytes(data.draw(changed(content)) if data.draw(st.booleans()) else content)
    lines = []
    found = load(lambda: latest_checkpoint(path.parent, lines.append))
    if found is not None:
        assert (found.step, found.meta, found.path, lines) == (STEP, META, path, [])
        check_tensors(found.tensors)
    else:
        assert len(lines) == 1
        assert any(file.read_bytes() != content for file, content in files.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_single_byte_of_a_model(model, suffix):
    """Every place, with the lowest bit flipped (digits stay digits) and cut there."""
    path, files = model
    for file, content in files.items():
        file.write_bytes(content)
    file = path.with_suffix(suffix)
    content = files[file]
    for place in range(len(content)):
        for data in (content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], content[:place]):
            file.write_bytes(data)
            found = load(lambda: load_model(path))
            if found is not None:  # only the line end is cut off
                assert data + b"\n" == content
                assert found[1:] == (CONFIG, FACTS)


# An attacker who also states the digests that fit.


def sealed(path, data, **entries):
    """Write `data` as the tensors, and a JSON side whose digests are right."""
    path.with_suffix(".safetensors").write_bytes(data)
    content = {"format": "gmm-theory-toolkit model", "version": 1, "tensors_sha256": digest_of(data)}
    content |= {"config": CONFIG, "training": FACTS} | entries
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.with_suffix(".json").write_text(json.dumps(content | {"sha256": digest_of(canonical.encode())}))


def check_weights(found):
    for tensor in found[0].values():
        assert tensor.dtype in DTYPES
        if tensor.numel():  # torch cannot compare a shape such as (0, 2^63 - 1)
            assert bool(torch.isfinite(tensor.double() if tensor.is_floating_point() else tensor).all())


@settings(max_examples=300)
@given(st.data())
def test_changed_tensors_with_the_right_digest(model, data):
    path, files = model
    content = files[path.with_suffix(".safetensors")]
    hostile = data.draw(st.one_of(changed(content), st.binary(max_size=200)))
    sealed(path, hostile)
    found = load(lambda: load_model(path))
    if found is not None:
        check_weights(found)


EDGES = [0, 1, 2, 3, 8, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1]
NUMBERS = st.one_of(st.sampled_from(EDGES), st.integers(0, 40))
KINDS = ["F64", "F32", "F16", "BF16", "C64", "I64", "I8", "U64", "U8", "BOOL", "F4", "F6_E2M3", "F6_E3M2"]
KINDS += ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "f32", "", "O"]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def hostile_file(draw):
    """A safetensors file of which the header may say anything; half of them what may fit the data."""
    if draw(st.booleans()):
        kind, shape = draw(st.sampled_from(KINDS)), draw(st.lists(NUMBERS, max_size=5))
        size = draw(st.sampled_from([0, 1, 2, 4, 8, 16, 24, 32, 64]))
        header = {"w": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    else:
        size = draw(st.integers(0, 64))
        entry = st.fixed_dictionaries(
            {
                "dtype": st.one_of(st.sampled_from(KINDS), JSON),
                "shape": st.one_of(st.lists(NUMBERS, max_size=5), JSON),
                "data_offsets": st.one_of(st.lists(NUMBERS, min_size=2, max_size=2), JSON),
            }
        )
        header = draw(st.dictionaries(st.text(max_size=4), st.one_of(entry, JSON), max_size=3))
    text = json.dumps(header).encode()
    length = draw(st.one_of(st.just(len(text)), st.sampled_from([n for n in EDGES if 0 <= n < 2**64])))
    return struct.pack("<Q", length) + text + draw(st.binary(min_size=size, max_size=size))


EMPTY_AND_WIDE = b'{"w": {"dtype": "C64", "shape": [0, 9223372036854775807], "data_offsets": [0, 0]}}'


@settings(max_examples=500)
@given(hostile_file())
@example(len(EMPTY_AND_WIDE).to_bytes(8, "little") + EMPTY_AND_WIDE)
def test_hostile_headers_with_the_right_digest(model, data):
    path, _ = model
    sealed(path, data)
    found = load(lambda: load_model(path))
    if found is not None:
        check_weights(found)


@settings(max_examples=200)
@given(JSON, st.sampled_from(["format", "version", "tensors_sha256", "config", "training", "more"]))
def test_hostile_side_with_the_right_digest(model, value, name):
    path, files = model
    sealed(path, files[path.with_suffix(".safetensors")], **{name: value})
    found = load(lambda: load_model(path))
    if found is not None:
        assert name in {"config", "training", "version"}
        assert {"config": found[1], "training": found[2], "version": 1}[name] == value


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_other_side(model, data):
    path, files = model
    path.with_suffix(".safetensors").write_bytes(files[path.with_suffix(".safetensors")])
    path.with_suffix(".json").write_bytes(data)
    assert load(lambda: load_model(path)) is None
