"""Small checkpoints, and the ways to damage them."""

import json

import pytest
import torch

from training.trainer.checkpoint import CheckpointError, save_checkpoint
from training.trainer.tensor_files import digest_of


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


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
