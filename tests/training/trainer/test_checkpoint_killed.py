"""Saves that do not come to an end: killed at any file operation or at any moment, or on a full disk."""

import contextlib
import errno
import itertools
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoint_saver import contents, model_contents

from training.trainer.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)

SAVER = Path(__file__).with_name("checkpoint_saver.py")
MOST_OPERATIONS = 28  # two saves: each has 2 writes, 4 syncs, 2 renames and some removals


class Saver:
    """The process that forks a saving child for each job; see checkpoint_saver."""

    def __init__(self, process):
        self.process = process

    def start(self, kind, folder, die_at=None, most_bytes=None):
        job = {"kind": kind, "folder": str(folder), "die_at": die_at, "most_bytes": most_bytes}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def saver():
    command = [sys.executable, str(SAVER)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Saver(process)
        process.stdin.close()


def check_contents(found):
    """Every entry is of the step that the checkpoint says."""
    tensors, meta = contents(found.step)
    check_equal(found.tensors, tensors)
    assert found.meta == meta


def check_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """What a killed process leaves behind does not depend on syncs; see the test of their order."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def unreported(line):
    pytest.fail(f"a kill alone damages nothing, but: {line}")


def test_killed_before_every_file_operation_of_a_save(saver, tmp_path):
    """The newest checkpoint is the one before or the one being saved, whole; the next save tidies up."""
    last, outcomes = 1, set()
    for operation in range(MOST_OPERATIONS):
        folder = tmp_path / str(operation)
        for step in range(last + 1):
            save_checkpoint(folder, step, *contents(step))
        saver.start("checkpoint", folder, die_at=operation)
        assert saver.end() == [-signal.SIGKILL, ""]
        found = latest_checkpoint(folder, unreported)
        assert found is not None
        check_contents(found)
        outcomes.add(found.step)
        save_checkpoint(folder, found.step + 1, *contents(found.step + 1))
        kept = [f"step-{step:08d}" for step in (found.step, found.step + 1)]
        assert sorted(file.name for file in folder.iterdir()) == [
            name + suffix for name in kept for suffix in (".json", ".safetensors")
        ]
    assert outcomes == set(range(last, max(outcomes) + 1))
    assert max(outcomes) >= last + 2  # kills at every operation of more than one whole save


def test_killed_before_every_file_operation_of_a_release(saver, tmp_path):
    """The model is the old one or the new one, and can be replaced at once."""
    versions = []
    for operation in range(MOST_OPERATIONS):
        path = tmp_path / str(operation) / "model"
        path.parent.mkdir()
        save_model(path, *model_contents(1))
        saver.start("model", path.parent, die_at=operation)
        status, said = saver.end()
        assert said == ""
        tensors, config, facts = load_model(path)
        expected = model_contents(config["version"])
        check_equal(tensors, expected[0])
        assert (config, facts) == expected[1:]
        versions.append(config["version"])
        save_model(path, *model_contents(3))
        assert load_model(path)[1] == {"version": 3}
        assert sorted(file.name for file in path.parent.iterdir()) == ["model.json", "model.safetensors"]
        if status == 0:
            break
        assert status == -signal.SIGKILL
    else:
        pytest.fail(f"a release has more than {MOST_OPERATIONS} file operations")
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}


def test_killed_at_random_moments(saver, tmp_path):
    moments = random.Random(0)  # noqa: S311
    save_checkpoint(tmp_path, 0, *contents(0))
    steps = [0]
    for _ in range(20):
        child = saver.start("checkpoint", tmp_path)
        give_up = time.monotonic() + 60
        while not saved_after(steps[-1], tmp_path) and time.monotonic() < give_up:
            time.sleep(1e-3)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert saver.end() == [-signal.SIGKILL, ""]
        found = latest_checkpoint(tmp_path, unreported)
        assert found is not None
        check_contents(found)
        steps.append(found.step)
    assert steps == sorted(set(steps))  # every child saved, and nothing that was saved is lost


def saved_after(step, folder):
    """A checkpoint of a later step is there."""
    return max(file.name for file in folder.glob("*.json")) > f"step-{step:08d}.json"


def test_killed_again_while_replacing_a_half_released_model(tmp_path, monkeypatch):
    """After a kill between the two renames, the next save must not lose the JSON that fits the tensors."""
    path = tmp_path / "model"
    save_model(path, *model_contents(1))
    with stopped_at(monkeypatch, "replace", 1):
        save_model(path, *model_contents(2))
    assert load_model(path)[1] == {"version": 2}
    with stopped_at(monkeypatch, "write", 1):
        save_model(path, *model_contents(3))
    assert load_model(path)[1] == {"version": 2}


def test_files_are_on_disk_before_their_names_are(tmp_path, monkeypatch):
    """The order that a power failure needs: contents, then the name of the tensors, then that of the JSON."""
    done = []

    def fsync(descriptor):
        inode = os.fstat(descriptor).st_ino
        done.extend(("sync", str(p)) for p in [tmp_path, *tmp_path.iterdir()] if p.stat().st_ino == inode)

    def replace(source, target, function=os.replace):
        done.append(("rename", str(target)))
        function(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    path = save_checkpoint(tmp_path, 0, *contents(0))
    side_path = path.with_suffix(".json")
    assert done == [
        ("sync", f"{path}.tmp"),
        ("sync", f"{side_path}.tmp"),
        ("rename", str(path)),
        ("sync", str(tmp_path)),
        ("rename", str(side_path)),
        ("sync", str(tmp_path)),
    ]


class Stopped(BaseException):
    """As KeyboardInterrupt: no OSError."""


@contextlib.contextmanager
def stopped_at(monkeypatch, name, call, problem=None):
    """The given call, from 0, of os.`name` raises `problem`, or Stopped, which the block must let through."""
    calls, function = iter(range(call + 1)), getattr(os, name)

    def counted(*arguments, **options):
        if next(calls, None) == call:
            raise problem or Stopped
        return function(*arguments, **options)

    with monkeypatch.context() as patch, contextlib.ExitStack() as expected:
        patch.setattr(os, name, counted)
        if problem is None:
            expected.enter_context(pytest.raises(Stopped))
        yield


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "call"), [("write", 0), ("write", 1), ("fsync", 0), ("fsync", 1), ("open", 0)]
)
def test_full_disk_while_saving_a_checkpoint(name, call, tmp_path, monkeypatch):
    for step in range(3):
        save_checkpoint(tmp_path, step, *contents(step))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with (
        stopped_at(monkeypatch, name, call, FULL),
        pytest.raises(
            CheckpointError, match=r"step-00000003.safetensors: not saved \(No space left.*kept"
        ) as caught,
    ):
        save_checkpoint(tmp_path, 3, *contents(3))
    assert "\n" not in str(caught.value)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}
    found = latest_checkpoint(tmp_path, unreported)
    assert found is not None
    assert found.step == 2
    check_contents(found)


def folders_answer(monkeypatch, code, call=0):
    """fsync of a folder raises this error from its call-th on; of files it does nothing."""
    calls = itertools.count()

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and next(calls) >= call:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_cannot_sync_a_folder(code, tmp_path, monkeypatch):
    folders_answer(monkeypatch, code)
    for step in range(2):
        save_checkpoint(tmp_path, step, *contents(step))
    found = latest_checkpoint(tmp_path, unreported)
    assert found is not None
    assert found.step == 1
    check_contents(found)
    for version in (1, 2):
        save_model(tmp_path / "model", *model_contents(version))
    assert load_model(tmp_path / "model")[1] == {"version": 2}


def test_a_message_says_whether_what_was_written_is_there(tmp_path, monkeypatch):
    """I/O errors of the second sync of a folder: both names are there already; of the first: the old ones."""
    save_checkpoint(tmp_path, 0, *contents(0))
    save_model(tmp_path / "model", *model_contents(1))
    folders_answer(monkeypatch, errno.EIO, call=1)
    with pytest.raises(CheckpointError, match=r"00000001\.safetensors: written, but not brought to disk"):
        save_checkpoint(tmp_path, 1, *contents(1))
    found = latest_checkpoint(tmp_path, unreported)
    assert found is not None
    assert found.step == 1
    folders_answer(monkeypatch, errno.EIO)
    with pytest.raises(CheckpointError, match=r"not saved \(Input.output error\); the checkpoint before"):
        save_checkpoint(tmp_path, 2, *contents(2))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: written, but not brought to disk"):
        save_model(tmp_path / "model", *model_contents(2))
    assert load_model(tmp_path / "model")[1] == {"version": 2}


@pytest.mark.parametrize(("name", "call"), [("write", 0), ("write", 1), ("fsync", 1), ("replace", 0)])
def test_full_disk_while_releasing_a_model(name, call, tmp_path, monkeypatch):
    save_model(tmp_path / "model", *model_contents(1))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with (
        stopped_at(monkeypatch, name, call, FULL),
        pytest.raises(CheckpointError, match=r"model.safetensors: not saved \(No space left.*is kept"),
    ):
        save_model(tmp_path / "model", *model_contents(2))
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert load_model(tmp_path / "model")[1] == {"version": 1}


@pytest.mark.parametrize("most_bytes", [0, 100, 100_000])
def test_limit_of_the_operating_system_on_a_file(most_bytes, saver, tmp_path):
    """A real refusal, and by 100 kB a write of which only the first part is done."""
    save_checkpoint(tmp_path, 5, *contents(5))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    saver.start("checkpoint", tmp_path, most_bytes=most_bytes)
    status, said = saver.end()
    assert status == 0
    assert said.startswith("CheckpointError: ")
    assert "step-00000006.safetensors: not saved (File too large); the checkpoint before it is kept" in said
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_unremovable_old_checkpoint_is_said(tmp_path, monkeypatch):
    for step in range(2):
        save_checkpoint(tmp_path, step, *contents(step))
    refused = OSError(errno.EACCES, os.strerror(errno.EACCES))
    with (
        stopped_at(monkeypatch, "unlink", 2, refused),  # 0 and 1 are of temporary files
        pytest.raises(CheckpointError, match=r"step-00000002.safetensors: saved, but .*Permission denied"),
    ):
        save_checkpoint(tmp_path, 2, *contents(2))
    found = latest_checkpoint(tmp_path, unreported)
    assert found is not None
    assert found.step == 2
