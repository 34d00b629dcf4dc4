"""Training state and released models on disk, as pairs of files (see tensor_files): atomic and verified.

A process killed at any moment leaves what was there before or what is new, each complete. One writer a folder
is assumed: with several processes, one of them saves.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from constructions.language.shown import short_repr
from training.trainer.tensor_files import (
    CheckpointError,
    check_finite,
    digest_of,
    encode_side,
    encode_tensors,
    read_pair,
    sync_folder,
    temporary_name,
    write_pair,
)

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "latest_checkpoint",
    "load_model",
    "model_paths",
    "save_checkpoint",
    "save_model",
]

CHECKPOINT, MODEL = "checkpoint", "model"
STEP_FILE = re.compile(r"step-([0-9]{8}|[1-9][0-9]{8,})\.(safetensors|json)(\.tmp)?")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Training state after `step` steps, as it was saved.

    step      steps taken.
    tensors   name -> tensor on the CPU; dtype, shape and every bit as saved; none shares memory with another.
    meta      the JSON values given.
    path      the safetensors file.
    """

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    path: Path

    __repr__ = short_repr


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write folder/step-00001234.safetensors and its JSON, then remove older ones beyond the newest `keep`.

    tensors   any of tensor_files.DTYPES, strides and device. Those that share memory are each written whole.
    meta      JSON values that come back equal: string keys, lists rather than tuples, finite numbers.
    keep      valid checkpoints that stay, this one included. A damaged one does not count; it goes when
              `keep` newer ones are valid.

    Returns the path of the safetensors file. The folder is made if it is missing. Left-overs of a killed run
    (temporary files, tensors without their JSON) are removed first.

    Raises CheckpointError for bad input; if the folder holds a valid checkpoint of a later step or other
    tensors of this step (they are another run's, and a resume would mix the two); and if the files cannot be
    written: then no checkpoint has been touched.
    """
    _check_integer("step", step, 0)
    _check_integer("keep", keep, 1)
    path = _step_path(folder, step)
    data = encode_tensors(path, tensors)
    side = encode_side(path, CHECKPOINT, data, {"step": step, "meta": dict(meta)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_other_run(folder, step, digest_of(data))
        _remove_left_overs(folder)
        write_pair(path, data, side)
    except OSError as problem:
        if _valid_digest(folder, step) == digest_of(data):
            raise CheckpointError(_unsynced(path, problem)) from problem
        raise CheckpointError(
            f"{path}: not saved ({problem.strerror}); the checkpoint before it is kept; "
            "needs a writable folder with free space"
        ) from problem
    try:
        _remove_older(folder, step, keep)
    except OSError as problem:
        raise CheckpointError(
            f"{path}: saved, but an older checkpoint cannot be removed ({problem.strerror}), "
            "needs a folder in which files can be removed"
        ) from problem
    return path


def latest_checkpoint(folder: Path, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest valid checkpoint of the folder; None if it holds none or does not exist.

    report   called with one line for every damaged checkpoint that is passed over.

    Raises CheckpointError if there are checkpoints and all are damaged, or if the folder cannot be read.
    """
    try:
        steps = _steps(folder)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise CheckpointError(
            f"{folder}: cannot be read ({problem.strerror}), needs a folder of checkpoints"
        ) from problem
    for step in steps:
        try:
            return _read_checkpoint(folder, step)[0]
        except CheckpointError as problem:
            report(f"damaged checkpoint passed over: {problem}")
    if steps:
        raise CheckpointError(
            f"{folder}: all of its checkpoints ({len(steps)}) are damaged, needs a valid one; "
            "name an empty folder to start anew"
        )
    return None


def save_model(
    path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], training: Mapping[str, Any]
) -> None:
    """Write a released model: path.safetensors with its JSON side path.json.

    path       with or without the suffix .safetensors; its folder must exist.
    tensors    the weights, finite, any of tensor_files.DTYPES. Those that share memory are written whole.
    config     what builds the module. JSON values that come back equal: string keys, lists, finite numbers.
    training   how it was trained (seed, steps, device, ...), likewise.

    A valid model of that name is replaced; killed on the way, `load_model` gives the old or the new one.

    Raises CheckpointError for bad input; if a file of that name is no valid model; and if the files cannot be
    written: then the model that was there is kept.
    """
    path, side_path = model_paths(path)
    data = encode_tensors(path, tensors)
    check_finite(path, tensors)
    side = encode_side(path, MODEL, data, {"config": dict(config), "training": dict(training)})
    try:
        if os.path.lexists(path) or os.path.lexists(side_path):
            _prepare_to_replace(path, side_path)
        write_pair(path, data, side)
    except OSError as problem:
        if _is_there(path, side_path, digest_of(data), dict(training)):
            raise CheckpointError(_unsynced(path, problem)) from problem
        raise CheckpointError(
            f"{path}: not saved ({problem.strerror}); what was there is kept; "
            "needs a writable folder with free space"
        ) from problem


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """(weights on the CPU, config, training facts) of a model that `save_model` wrote.

    path   with or without the suffix .safetensors; its JSON side lies next to it.

    Raises CheckpointError for anything that is not such a model, complete, unchanged and with finite weights.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, needs a model, with or without .safetensors")
    path, side_path = model_paths(path)
    tensors, content, _ = _read_model(path, side_path)
    return tensors, content["config"], content["training"]


# Checkpoints of a folder


def _step_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"


def _step_files(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, step, suffix) of every file that is named as a part of a checkpoint."""
    for file in list(folder.iterdir()):
        match = STEP_FILE.fullmatch(file.name)
        if match:
            yield file, int(match[1]), file.suffix


def _steps(folder: Path) -> list[int]:
    """Steps of which there is a JSON, newest first."""
    return sorted((step for _, step, suffix in _step_files(folder) if suffix == ".json"), reverse=True)


def _read_checkpoint(folder: Path, step: int) -> tuple[Checkpoint, str]:
    """The checkpoint and the SHA-256 of its tensors file."""
    path = _step_path(folder, step)
    side_path = path.with_suffix(".json")
    tensors, content = read_pair(path, side_path, CHECKPOINT, {"step": int, "meta": dict})
    if content["step"] != step:
        raise CheckpointError(f"{side_path}: is of step {content['step']}, needs {step} as its name says")
    return Checkpoint(step, tensors, content["meta"], path), content["tensors_sha256"]


def _valid_digest(folder: Path, step: int) -> str | None:
    """SHA-256 of the tensors file of a valid checkpoint, None of a damaged one."""
    try:
        return _read_checkpoint(folder, step)[1]
    except CheckpointError:
        return None


def _refuse_other_run(folder: Path, step: int, digest: str) -> None:
    for other in (other for other in _steps(folder) if other >= step):
        found = _valid_digest(folder, other)
        if found is not None and (other > step or found != digest):
            raise CheckpointError(
                f"{_step_path(folder, other)}: is a checkpoint of another run, "
                f"needs none from step {step} on; resume from it or name another folder"
            )


def _remove_left_overs(folder: Path) -> None:
    steps = set(_steps(folder))
    for file, step, suffix in _step_files(folder):
        if suffix == ".tmp" or step not in steps:
            file.unlink()


def _remove_older(folder: Path, step: int, keep: int) -> None:
    """Once `keep` valid checkpoints are counted from `step` down, remove all that are older."""
    valid = 1
    for older in (other for other in _steps(folder) if other < step):
        if valid < keep:
            valid += _valid_digest(folder, older) is not None
        else:
            path = _step_path(folder, older)
            path.with_suffix(".json").unlink()  # first: without it the checkpoint does not exist
            path.unlink(missing_ok=True)


# Models


def model_paths(path: Path) -> tuple[Path, Path]:
    """The tensors file and the JSON of a model named with or without .safetensors."""
    name = path.name.removesuffix(".safetensors")
    if not name:
        raise CheckpointError(f"{path}: names no file, needs a model, with or without .safetensors")
    return path.with_name(name + ".safetensors"), path.with_name(name + ".json")


def _read_model(path: Path, side_path: Path) -> tuple[dict[str, Tensor], dict[str, Any], Path]:
    """(tensors, content, the JSON they belong to).

    Between the two renames of write_pair the tensors are new, the JSON is old and the new JSON, already on
    disk, still has its temporary name: it is then the one that belongs to the tensors.
    """
    entries: dict[str, type] = {"config": dict, "training": dict}
    used = side_path
    try:
        tensors, content = read_pair(path, side_path, MODEL, entries)
    except CheckpointError as first:
        used = temporary_name(side_path)
        try:
            tensors, content = read_pair(path, used, MODEL, entries)
        except CheckpointError:
            raise first from None
    check_finite(path, tensors)
    return tensors, content, used


def _prepare_to_replace(path: Path, side_path: Path) -> None:
    """Refuse files that are no valid model; complete a save that was killed between its two renames."""
    try:
        _, _, used = _read_model(path, side_path)
    except CheckpointError as problem:
        raise CheckpointError(
            f"{path}: not overwritten, remove it and its JSON first: {problem}"
        ) from problem
    if used != side_path:
        used.replace(side_path)
        sync_folder(path.parent)


def _is_there(path: Path, side_path: Path, digest: str, training: dict[str, Any]) -> bool:
    """Whether `load_model` gives the tensors of this digest with these training facts."""
    try:
        content = _read_model(path, side_path)[1]
    except CheckpointError:
        return False
    return content["tensors_sha256"] == digest and content["training"] == training


def _unsynced(path: Path, problem: OSError) -> str:
    return (
        f"{path}: written, but not brought to disk for certain ({problem.strerror}), "
        "a power cut may undo it; needs a folder that can be synced"
    )


def _check_integer(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CheckpointError(f"{name} is {value!r}, needs an integer of at least {least}")
