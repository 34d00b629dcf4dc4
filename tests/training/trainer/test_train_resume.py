"""A run that was killed or stopped, and goes on, ends with the weights and metrics of one that was not."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, Forker, preset, read_metrics, result, tiny_config, train

from training.trainer import loop as trainer_module
from training.trainer.checkpoint import latest_checkpoint
from training.trainer.loop import StepResult, Trainer
from training.trainer.processes import Processes
from training.trainer.run_folder import Metrics, MetricsError

KILLS = 10


def undisturbed(folder: Path, **changes: dict) -> tuple[Path, tuple]:
    """A preset in the folder, and the result of a run by it from beginning to end."""
    path = preset(folder, **changes)
    outcome = train("--preset", path, "--out", folder / "undisturbed")
    assert outcome.code == 0, outcome.err
    return path, result(folder / "undisturbed")


@pytest.mark.parametrize(
    ("optimiser", "checkpoint_seconds", "most_events"),
    [pytest.param("adamw", 1e-9, 20, marks=pytest.mark.slow), ("muon", 5.0, 12)],
    ids=["adamw, a checkpoint every step", "muon, a checkpoint every few steps"],
)
def test_killed_ten_times_at_random_events(
    optimiser, checkpoint_seconds, most_events, forker: Forker, tmp_path
):
    """SIGKILL before a step, a write (then half done), a rename or a removal.

    A step with its checkpoint is up to nine events, the rehearsal at the start eight more. With `most_events`
    beside these to choose from, there is something left to do after ten kills. The pace of the clock changes
    from one part of the run to the next, so that checkpoints fall on other steps than before. Nothing here
    depends on real time.
    """
    changes = {"optimiser": optimiser, "checkpoint_seconds": checkpoint_seconds, "steps": 20}
    path, expected = undisturbed(tmp_path, training=changes)
    moments = random.Random(optimiser)  # noqa: S311
    out, log = tmp_path / "out", tmp_path / "log"
    begun, reached = False, [0]
    for _ in range(KILLS):
        arguments = ("--out", out, *(("--resume",) if begun else ("--preset", path)))
        event, pace = moments.randint(1, 8 + most_events), moments.choice((0.2, 1.0, 3.0))
        assert forker.run(log, *arguments, die_at=event, pace=pace) == [-signal.SIGKILL], log.read_text()
        begun = (out / "config.json").exists()
        found = latest_checkpoint(out / "checkpoints", pytest.fail)
        reached.append(0 if found is None else found.step)
    assert reached == sorted(reached)
    assert 0 < reached[-1] < 20
    assert not (out / "model.safetensors").exists()
    assert forker.run(log, "--out", out, "--resume") == [0], log.read_text()
    assert result(out) == expected
    assert "damaged" not in log.read_text()


@pytest.mark.parametrize("event", [1, 2])
def test_killed_at_the_very_start(event, forker: Forker, tmp_path):
    """Event 1 is the rename of config.json: before it there is no run yet, after it one that can go on."""
    path, expected = undisturbed(tmp_path, training={"steps": 3})
    out, log = tmp_path / "out", tmp_path / "log"
    assert forker.run(log, "--preset", path, "--out", out, die_at=event) == [-signal.SIGKILL]
    assert (out / "config.json").exists() == (event > 1)
    again = ("--resume",) if event > 1 else ("--preset", path)
    assert forker.run(log, "--out", out, *again) == [0], log.read_text()
    assert result(out) == expected


def test_killed_while_the_model_is_written(forker: Forker, tmp_path):
    """All steps are taken and saved; every third event of what is left kills, until none does."""
    path, expected = undisturbed(tmp_path, training={"steps": 2})
    out, log = tmp_path / "out", tmp_path / "log"
    assert train("--preset", path, "--out", out).code == 0
    (out / "model.safetensors").unlink()
    (out / "model.json").unlink()
    event = 1
    while (codes := forker.run(log, "--out", out, "--resume", die_at=event)) != [0]:
        assert codes == [-signal.SIGKILL], log.read_text()
        event += 3
    assert event >= 8  # two pairs of files, each with two writes and two renames
    assert result(out) == expected


class Killed(BaseException):
    """Not even an Exception: nothing may catch it and save."""


def stop_before(monkeypatch, step: int, what) -> None:
    """`what()` is called before the step with this number."""
    take_step = Trainer.take_step

    def call(trainer: Trainer, *stop: Callable[[], bool]) -> StepResult:
        if trainer.step == step:
            what()
        return take_step(trainer, *stop)

    monkeypatch.setattr(Trainer, "take_step", call)


@pytest.mark.parametrize(
    ("number", "optimiser"), [(signal.SIGINT, "adamw"), (signal.SIGINT, "muon"), (signal.SIGTERM, "adamw")]
)
def test_ctrl_c_saves_and_the_run_goes_on(number, optimiser, tmp_path, monkeypatch, capfd):
    """It comes in the seventh step, which is given up; six are saved, and the exit code is 130."""
    path, expected = undisturbed(tmp_path, training={"optimiser": optimiser, "checkpoint_seconds": 1e9})
    out, handlers = tmp_path / "out", [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        stop_before(patch, 6, lambda: signal.raise_signal(number))
        outcome = train("--preset", path, "--out", out)
    assert outcome.code == 130
    assert outcome.err.endswith("stopped at step 6; --resume goes on\n")
    assert capfd.readouterr().err == "\nstopping: a checkpoint is being saved\n"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (out / "model.safetensors").exists()
    found = latest_checkpoint(out / "checkpoints", pytest.fail)
    assert found is not None
    assert found.step == 6
    outcome = train("--out", out, "--resume")
    assert outcome.code == 0
    assert f"resuming {out} at step 6\n" in outcome.err
    assert result(out) == expected


@pytest.mark.parametrize("step", [0, 11])
def test_ctrl_c_at_the_first_and_last_step_changes_nothing(step, tmp_path, monkeypatch):
    path, expected = undisturbed(tmp_path)
    with monkeypatch.context() as patch:
        stop_before(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        assert train("--preset", path, "--out", tmp_path / "out").code == 130
    assert train("--out", tmp_path / "out", "--resume").code == 0
    assert result(tmp_path / "out") == expected


def test_ctrl_c_between_micro_batches_gives_the_step_up(tmp_path, monkeypatch):
    """The gradients of the first one are thrown away."""
    path, expected = undisturbed(tmp_path, training={"micro_batches": 2})
    draw, drawn = trainer_module.draw, []

    def noting(*arguments, **named):
        drawn.append(arguments[1])
        if len(drawn) == 7:
            signal.raise_signal(signal.SIGINT)
        return draw(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "draw", noting)
        outcome = train("--preset", path, "--out", tmp_path / "out")
    assert outcome.err.endswith("stopped at step 3; --resume goes on\n")
    assert len(drawn) == 7
    assert train("--out", tmp_path / "out", "--resume").code == 0
    assert result(tmp_path / "out") == expected


def test_a_finished_run_resumed_is_left_as_it_is(tmp_path):
    _, expected = undisturbed(tmp_path)
    assert train("--out", tmp_path / "undisturbed", "--resume").code == 0
    assert result(tmp_path / "undisturbed") == expected


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    """(preset, result undisturbed, folder of a run with a checkpoint a step, killed before step 9)."""
    folder = tmp_path_factory.mktemp("killed")
    path, expected = undisturbed(folder, training={"checkpoint_seconds": 1e-9})
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, 9, _kill)
        with pytest.raises(Killed):
            train("--preset", path, "--out", folder / "out")
    return path, expected, folder / "out"


@pytest.fixture
def killed(killed_once, tmp_path):
    """A copy of it to damage."""
    path, expected, out = killed_once
    return path, expected, shutil.copytree(out, tmp_path / "out")


def _kill():
    raise Killed


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(damage, killed):
    _, expected, out = killed
    damage(out / "checkpoints" / "step-00000009.safetensors")
    outcome = train("--out", out, "--resume")
    assert outcome.code == 0, outcome.err
    reports = [line for line in outcome.err.splitlines() if line.startswith("damaged checkpoint passed over")]
    assert len(reports) == 1
    assert "step-00000009.safetensors" in reports[0]
    assert f"resuming {out} at step 8\n" in outcome.err
    assert result(out) == expected


def test_when_all_checkpoints_are_damaged_nothing_is_overwritten(killed):
    _, _, out = killed
    for path in (out / "checkpoints").glob("*.safetensors"):
        _flip(path)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    outcome = train("--out", out, "--resume")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "all of its checkpoints (2) are damaged" in outcome.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_other_settings_is_refused(killed):
    """config.json was edited, or the checkpoint comes from another run."""
    _, _, out = killed
    config = json.loads((out / "config.json").read_text())
    config["model"]["width"] = 16
    (out / "config.json").write_text(json.dumps(config))
    outcome = train("--out", out, "--resume")
    assert outcome.code == 2
    assert "step-00000009.safetensors: is a checkpoint of other settings than" in outcome.err
    assert outcome.err.count("\n") == 1


def test_lost_metrics_are_refused(killed):
    """Going on would leave a hole in the file."""
    _, expected, out = killed
    data = (out / "metrics.jsonl").read_bytes()
    (out / "metrics.jsonl").write_bytes(data[:-1])
    outcome = train("--out", out, "--resume")
    assert outcome.code == 2
    assert f"has {len(data) - 1} bytes, had {len(data)} at the checkpoint" in outcome.err
    (out / "metrics.jsonl").write_bytes(data)
    assert train("--out", out, "--resume").code == 0
    assert result(out) == expected


def test_the_length_of_metrics_counts_after_lines_were_cut_off(tmp_path):
    """A checkpoint may come before the first new line."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    metrics = Metrics(path, 12)
    assert metrics.length() == 12
    metrics.write({"step": 3})
    assert metrics.length() == 24
    metrics.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]
    with pytest.raises(MetricsError, match="has 24 bytes, had 25 at the checkpoint"):
        Metrics(path, 25)


def test_state_and_restore_keep_every_bit(tmp_path):
    """In one process: every weight and optimiser state after six more steps, from each of four steps on."""
    for optimiser in ("adamw", "muon"):
        config = tiny_config(training={"optimiser": optimiser, "weight_decay": 0.1})
        alone = Processes(0, 1, torch.device("cpu"))
        reference = Trainer(config, alone)
        states = []
        for _ in range(10):
            states.append({name: value.clone() for name, value in reference.state().items()})
            reference.take_step()
        for start in (0, 1, 3, 7):
            other = Trainer(config, alone)
            other.restore(start, states[start])
            for _ in range(start, 10):
                other.take_step()
            assert other.step == reference.step
            assert other.state().keys() == reference.state().keys()
            assert all(torch.equal(other.state()[name], value) for name, value in reference.state().items())


def test_full_disk_while_saving(forker: Forker, tmp_path):
    """RLIMIT_FSIZE refuses the checkpoint, the one before is used when there is room again."""
    path, expected = undisturbed(tmp_path, training={"checkpoint_seconds": 1e-9})
    out, log = tmp_path / "out", tmp_path / "log"
    assert forker.run(log, "--preset", path, "--out", out, interrupt_at=5) == [130]
    log.unlink()
    size = (out / "checkpoints" / "step-00000005.safetensors").stat().st_size
    assert forker.run(log, "--out", out, "--resume", most_bytes=size - 1) == [2]
    lines = [line for line in log.read_text().splitlines() if "error" in line]
    assert len(lines) == 1
    assert (
        "step-00000006.safetensors: not saved (File too large); the checkpoint before it is kept" in lines[0]
    )
    found = latest_checkpoint(out / "checkpoints", pytest.fail)
    assert found is not None
    assert found.step == 5
    assert forker.run(log, "--out", out, "--resume") == [0]
    assert result(out) == expected


def test_full_disk_while_writing_metrics(forker: Forker, tmp_path):
    """The line that fits only in part is cut off when the run goes on."""
    path, expected = undisturbed(tmp_path, training={"checkpoint_seconds": 1e9, "log_every": 1, "steps": 40})
    out, log = tmp_path / "out", tmp_path / "log"
    # More than the model has, which is tried at the start, and less than the metrics.
    assert forker.run(log, "--preset", path, "--out", out, most_bytes=5000) == [2]
    lines = [line for line in log.read_text().splitlines() if "error" in line]
    assert len(lines) == 1
    assert "metrics.jsonl: not written (File too large); the last checkpoint is kept" in lines[0]
    assert (out / "metrics.jsonl").stat().st_size == 5000
    assert forker.run(log, "--out", out, "--resume") == [0]
    assert result(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_the_command_killed_ten_times_at_random_moments(optimiser, tmp_path):
    """`python -m training.train`, really killed at moments of the clock.

    Each part of the run is killed up to a tenth of a second after its first new checkpoint; checkpoints are a
    twentieth apart. So ten parts train for a second or so, and 1000 steps of some milliseconds are not done;
    on a machine where they are, the test fails for want of a tenth kill.
    """
    changes = {"optimiser": optimiser, "checkpoint_seconds": 0.05, "steps": 1000, "evaluate_every": 300}
    path, expected = undisturbed(tmp_path, training=changes)
    moments = random.Random(optimiser)  # noqa: S311
    out = tmp_path / "out"
    command = [sys.executable, "-m", "training.train", "--out", str(out)]
    for kill in range(KILLS):
        arguments = ["--resume"] if kill else ["--preset", str(path)]
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=subprocess.PIPE)  # noqa: S603
        with process:
            before = _newest(out)
            while process.poll() is None and _newest(out) <= before:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.1))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    assert subprocess.run([*command, "--resume"], cwd=ROOT, check=False).returncode == 0  # noqa: S603
    assert result(out) == expected


def _newest(out: Path) -> int:
    return max((int(path.stem[5:]) for path in (out / "checkpoints").glob("step-*.json")), default=0)
