"""What a run needs at its end, tried at its start: evaluation, its facts as JSON, the model's files."""

from __future__ import annotations

import os
from pathlib import Path

from training.trainer.checkpoint import CheckpointError, load_model, model_paths, save_model
from training.trainer.progress import check_progress
from training.trainer.recorder import Recorder
from training.trainer.run_folder import MODEL
from training.trainer.tensor_files import temporary_name

REHEARSAL = "rehearsal.safetensors"
"""The model as it is at the start, under a name of its own; removed at once."""


def rehearse(out: Path, recorder: Recorder) -> None:
    """Evaluate on two tasks of each K, write the model into the folder.

    Raises ValueError (one line) where the end of the run would: the network cannot be evaluated, the facts
    are no JSON, a folder cannot be written, a file in the model's place is no model.
    """
    trainer = recorder.trainer
    check_progress(trainer.model, trainer.config, 2)
    if any(os.path.lexists(path) for path in model_paths(out / MODEL)):
        load_model(out / MODEL)
    try:
        _remove(out)
        config = trainer.config.to_dict()["model"]
        save_model(out / REHEARSAL, trainer.model.state_dict(), config, recorder.facts())
        _remove(out)
    except OSError as problem:
        raise CheckpointError(
            f"{out}: cannot be written ({problem.strerror}), needs a writable folder"
        ) from None


def _remove(folder: Path) -> None:
    """Also what a killed rehearsal left."""
    for path in model_paths(folder / REHEARSAL):
        for file in (path, temporary_name(path)):
            if os.path.lexists(file):
                file.unlink()
