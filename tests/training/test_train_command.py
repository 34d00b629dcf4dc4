"""python -m training.train: what it leaves, what it refuses, each time in one line."""

import json
import math
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, preset, read_metrics, refusal, train

from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.trainer import command as train_command
from training.trainer.checkpoint import latest_checkpoint, load_model
from training.trainer.config import RunConfig, load_preset
from training.trainer.ending import closing_lines
from training.trainer.preset_files import preset_names


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Everything below the folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(preset, folder) of a run that is over; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    path = preset(folder)
    outcome = train("--preset", path, "--out", folder / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    *_, wrote, error, following = outcome.err.splitlines()
    assert wrote == f"wrote {folder / 'out' / 'model.safetensors'}"
    last = read_metrics(folder / "out" / "metrics.jsonl")[-1]["evaluation"]
    said = [", ".join(f"{last[kind][K]:.3g} (K = {K})" for K in "12") for kind in ("network", "polished")]
    assert (
        error == f"validation error, 2 fixed tasks of each K, mean: {said[0]}; after 10 EM steps: {said[1]}"
    )
    assert following == f"next: python -m training.evaluate {folder / 'out' / 'model.safetensors'} --quick"
    return path, folder / "out"


def test_the_next_stage_is_named(finished, tmp_path, monkeypatch):
    """d8 begins with the model that d8-start leaves in runs/d8-start."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished[1], "runs/d8-start")
    lines = closing_lines(Path("runs/d8-start"), load_preset(str(finished[0])))
    assert lines[2:] == ["or its next stage: python -m training.train --preset d8 --out runs/d8"]


def test_the_presets_are_listed_with_a_line_each():
    outcome = train("--list-presets")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == preset_names()
    assert max(map(len, lines)) <= 80
    assert "Under a minute on one core" in outcome.out


def test_settings_are_changed_at_the_command_line(tmp_path):
    changes = ("training.steps=1", "model.width=4", "training.loss=matched", "tasks.components=[2]")
    asked = [word for change in changes for word in ("--set", change)]
    outcome = train("--preset", preset(tmp_path), *asked, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    config = RunConfig.from_dict(json.loads((tmp_path / "out" / "config.json").read_text()))
    assert (config.training.steps, config.model.width, config.model.components) == (1, 4, (2,))


def test_what_a_run_leaves(finished):
    path, out = finished
    config = load_preset(str(path))
    assert sorted(file.name for file in out.iterdir()) == [
        *("checkpoints", "config.json", "metrics.jsonl", "model.json", "model.safetensors")
    ]
    assert RunConfig.from_dict(json.loads((out / "config.json").read_text())) == config
    tensors, model, facts = load_model(out / "model")
    network = TGMM(ModelConfig(**model))
    network.load_state_dict(tensors)
    assert facts["config"] == config.to_dict()
    assert facts["steps"] == 12
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    found = latest_checkpoint(out / "checkpoints", pytest.fail)
    assert found is not None
    assert found.step == 12
    assert all(torch.equal(tensors[name], found.tensors[f"model.{name}"]) for name in tensors)


def test_the_lines_of_metrics(finished):
    _, out = finished
    lines = read_metrics(out / "metrics.jsonl")
    assert [(line["step"], "evaluation" in line) for line in lines] == [
        *((5, False), (8, True), (10, False), (12, False), (12, True))
    ]
    for line in lines:
        if "evaluation" in line:
            assert {name: list(errors) for name, errors in line["evaluation"].items()} == {
                "network": ["1", "2"],
                "polished": ["1", "2"],
            }
        else:
            assert list(line) == ["step", "loss", "gradient_norm", "learning_rate", "tasks", "seconds"]
            assert line["tasks"] == 4 * line["step"]
            assert all(math.isfinite(value) for value in line.values())


def test_the_loss_of_smoke_falls(tmp_path):
    """From its first to its last 20 steps: the average over 640 tasks each; it falls by half and more.

    Of 80 steps, about half of the preset's: they show it as well.
    """
    steps = load_preset("smoke").training.steps
    text = (ROOT / "training" / "presets" / "smoke.toml").read_text()
    shorter = text.replace(f"steps = {steps}\n", "steps = 80\n").replace(f"evaluate_every = {steps}\n", "")
    path = tmp_path / "smoke.toml"
    path.write_text(shorter)
    assert load_preset(str(path)).training.steps == 80
    outcome = train("--preset", path, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    losses = [line["loss"] for line in read_metrics(tmp_path / "out" / "metrics.jsonl") if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]


MISSING = "No such file or directory"


def test_arguments_that_are_refused(tmp_path):
    path = preset(tmp_path)
    out = tmp_path / "out"
    for arguments, message in [
        (("--out", out), "--preset is missing; name one (--list-presets), or --resume a run"),
        (("--preset", path), "Missing option '--out'."),
        (("--preset", "smokey", "--out", out), f"no preset 'smokey' ({MISSING}); there are"),
        (("--preset", path, "--out", out, "--device", "tpu"), "--device tpu: it is auto, cpu, or cuda where"),
        (("--preset", path, "--out", out, "--steps", "3"), "No such option: --steps"),
        (("--out", out, "--set", "training.steps=3"), "--set training.steps=3: needs --preset"),
        (("--preset", path, "--set", "training.x=3", "--out", out), "--set training.x=3: unknown key"),
        (("--preset", path, "--out", out, "more"), "Got unexpected extra argument"),
        (("--out", out, "--resume"), f"--out {out}: holds no run to resume; leave --resume out to start one"),
    ]:  # fmt: skip
        assert refusal(*arguments).startswith(f"error: {message}"), arguments
        assert contents(tmp_path) == {path: path.read_bytes()}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal of a GPU that is missing")
def test_cuda_without_a_gpu(tmp_path):
    line = refusal("--preset", "smoke", "--out", tmp_path / "out", "--device", "cuda")
    assert line == "error: --device cuda: it is auto, cpu, or cuda where there is a GPU\n"


def test_fewer_positions_than_the_evaluation_has_points(tmp_path):
    """The points of the evaluation are then as many as there are positions, from which a model comes out."""
    path = preset(tmp_path, model={"max_positions": 8})
    outcome = train("--preset", path, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert load_model(tmp_path / "out" / "model")[1]["max_positions"] == 8
    assert not list((tmp_path / "out").rglob("rehearsal*"))


@pytest.mark.parametrize("what", ["evaluation", "facts", "folder", "model"])
def test_what_the_end_of_a_run_needs_is_tried_at_its_start(what, tmp_path, monkeypatch, finished):
    """No step is taken where the end would fail."""

    def fails(*arguments):
        raise ValueError("it fails")

    path, out = preset(tmp_path), tmp_path / "out"
    arguments = ("--preset", path, "--out", out)
    if what == "evaluation":
        monkeypatch.setattr("training.trainer.rehearsal.check_progress", fails)
    elif what == "facts":
        monkeypatch.setattr("training.trainer.recorder.platform.machine", lambda: float("nan"))
    elif what == "folder":
        monkeypatch.setattr("training.trainer.rehearsal.save_model", fails)
    else:
        shutil.copytree(finished[1], out)
        (out / "model.safetensors").write_text("precious")
        arguments = ("--out", out, "--resume")
    monkeypatch.setattr(
        "training.trainer.loop.Trainer.take_step", lambda *given: pytest.fail("a step is taken")
    )
    outcome = train(*arguments)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert not list(out.rglob("rehearsal*"))
    if what == "model":
        assert (out / "model.safetensors").read_text() == "precious"


def test_a_wrong_setting_names_file_section_key_value_and_what_is_accepted(tmp_path):
    path = preset(tmp_path, training={"learning_rate": "high"})
    line = refusal("--preset", path, "--out", tmp_path / "out")
    assert line == f"error: {path}: [training] learning_rate is 'high', needs a number\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(finished):
    path, out = finished
    before = contents(out)
    line = refusal("--preset", path, "--out", out)
    assert line == (
        f"error: --out {out}: holds a run already (config.json, metrics.jsonl, model.safetensors, "
        "checkpoints); give --resume to go on, or name another folder\n"
    )
    assert contents(out) == before


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "model.safetensors", "checkpoints/step-1"])
def test_a_folder_that_holds_parts_of_a_run_is_not_overwritten(name, tmp_path):
    path, out = preset(tmp_path), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("precious")
    before = contents(tmp_path)
    assert f"holds a run already ({name.split('/')[0]})" in refusal("--preset", path, "--out", out)
    assert contents(tmp_path) == before


def test_resuming_with_other_settings_names_the_keys(finished, tmp_path):
    path, out = finished
    before = contents(out)
    other = preset(tmp_path, training={"learning_rate": 0.5, "seed": 3}, model={"width": 4})
    assert refusal("--preset", other, "--out", out, "--resume") == (
        f"error: --out {out}: holds a run of other settings ([model] width: 8 there, 4 now; "
        "[training] learning_rate: 0.001 there, 0.5 now; [training] seed: 0 there, 3 now)\n"
    )
    assert contents(out) == before
    assert train("--preset", path, "--out", out, "--resume").code == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"tasks": {}}', "[" * 100_000, '{"a": NaN}', "\xff"])
def test_resuming_a_damaged_configuration(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    before = contents(tmp_path)
    line = refusal("--out", tmp_path, "--resume")
    assert line.startswith(f"error: {tmp_path / 'config.json'}: is no configuration of a run (")
    assert contents(tmp_path) == before


def test_folders_that_cannot_be_written(tmp_path):
    path = preset(tmp_path)
    file = tmp_path / "file"
    file.write_text("precious")
    for out, reason in [
        (file / "out", "Not a directory"),
        (file, "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (Path("/proc/none"), "No such file or directory"),
    ]:
        line = refusal("--preset", path, "--out", out)
        assert line == f"error: --out {out}: cannot be written ({reason}); name a writable folder\n"
    assert file.read_text() == "precious"
    assert "is no configuration of a run" in refusal("--out", file, "--resume")


def test_tensorboard_without_the_package_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    line = refusal("--preset", "smoke", "--out", tmp_path / "out", "--tensorboard")
    assert line.startswith("error: --tensorboard needs tensorboard, which is not installed: pip install")
    assert not (tmp_path / "out").exists()


def test_mamba2_without_the_package_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    line = refusal("--preset", "smoke", "--set", "model.backbone=mamba2", "--out", tmp_path / "out")
    assert line.startswith("error: backbone 'mamba2' needs transformers, which is not installed: pip install")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def boards(monkeypatch):
    """A stand-in for the package: of every writer what it was made with, what it was told, whether closed."""
    made = []

    class Writer:
        def __init__(self, folder, purge_step):
            self.folder, self.purge_step, self.written, self.closed = folder, purge_step, [], False
            made.append(self)

        def add_scalar(self, name, value, step):
            assert not self.closed
            self.written.append((step, name, value))

        def flush(self):
            pass

        def close(self):
            self.closed = True

    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", module)
    return made


def events(lines):
    """What TensorBoard is told of lines of metrics."""
    found = []
    for line in lines:
        for name, value in line.items():
            if name == "evaluation":
                found += [
                    (line["step"], f"evaluation/{kind}/{K}", error)
                    for kind, errors in value.items()
                    for K, error in errors.items()
                ]
            elif name != "step":
                found.append((line["step"], name, value))
    return found


def test_tensorboard_gets_every_number_of_metrics(tmp_path, boards):
    outcome = train("--preset", preset(tmp_path), "--out", tmp_path / "out", "--tensorboard")
    assert outcome.code == 0, outcome.err
    [board] = boards
    assert board.folder == tmp_path / "out" / "tensorboard"
    assert board.purge_step == 1
    assert board.closed
    assert board.written == events(read_metrics(tmp_path / "out" / "metrics.jsonl"))


def test_tensorboard_of_a_resumed_run_has_every_step_once(tmp_path, monkeypatch, boards):
    """Failed after 9 steps, the checkpoint is that of step 7: what was said of 8 and 9 is purged."""
    path, out = preset(tmp_path, training={"log_every": 1}), tmp_path / "out"
    take_step, after = train_command.Trainer.take_step, train_command.Recorder.after

    def failing(self, *arguments):
        if self.step == 9:
            raise ValueError("step 10 fails")
        return take_step(self, *arguments)

    def saving(self, result):
        after(self, result)
        if self.trainer.step == 7:
            self.save()

    with monkeypatch.context() as patch:
        patch.setattr(train_command.Trainer, "take_step", failing)
        patch.setattr(train_command.Recorder, "after", saving)
        assert train("--preset", path, "--out", out, "--tensorboard").code == 2
    assert train("--out", out, "--resume", "--tensorboard").code == 0
    first, second = boards
    assert first.closed
    assert second.closed
    assert first.written[-1][0] == 9
    kept = [event for event in first.written if event[0] < second.purge_step]
    assert kept + second.written == events(read_metrics(out / "metrics.jsonl"))


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e6},
        {"learning_rate": 1e9, "optimiser": "muon", "muon_share": 1e9},
        {"learning_rate": 1e9, "loss": "likelihood", "weight_decay": 1e10},
    ],
)
def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(changes, tmp_path):
    """One line, no model; the checkpoint is the one before the step that failed."""
    path = preset(tmp_path, training={**changes, "warmup": 0, "checkpoint_seconds": 1e-9})
    outcome = train("--preset", path, "--out", tmp_path / "out")
    assert outcome.code == 2
    errors = [line for line in outcome.err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert outcome.err.splitlines()[-1] == errors[0]
    assert errors[0].endswith("; a new run with a smaller learning_rate or clip may help")
    found = latest_checkpoint(tmp_path / "out" / "checkpoints", pytest.fail)
    assert found is not None
    assert errors[0].startswith(f"error: step {found.step}: the loss is ")
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_messages_are_not_folded(tmp_path, monkeypatch):
    """A line that goes into a file is one line, however narrow the terminal is said to be."""
    monkeypatch.setenv("COLUMNS", "20")
    path = preset(tmp_path, training={"steps": 1})
    outcome = train("--preset", path, "--out", tmp_path / "out")
    assert f"wrote {tmp_path / 'out' / 'model.safetensors'}" in outcome.err.splitlines()


def test_another_seed_gives_another_model_and_the_same_seed_the_same(tmp_path, finished):
    weights = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        train("--preset", preset(folder, training={"seed": seed}), "--out", folder / "out")
        weights.append((folder / "out" / "model.safetensors").read_bytes())
    assert weights[0] == (finished[1] / "model.safetensors").read_bytes()
    assert weights[0] != weights[1]


def test_threads_are_set(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(train_command.torch, "set_num_threads", asked.append)
    for threads in (0, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        path = preset(folder, training={"threads": threads, "steps": 1})
        assert train("--preset", path, "--out", folder / "out").code == 0
    assert asked == [3]


@pytest.mark.slow
def test_the_module_runs_as_a_command(tmp_path):
    """Exit codes, and one line on standard error, as a shell sees them."""
    command = [sys.executable, "-m", "training.train"]
    done = subprocess.run(  # noqa: S603
        [*command, "--preset", str(preset(tmp_path)), "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    bad = subprocess.run(  # noqa: S603
        [*command, "--preset", "none", "--out", str(tmp_path / "other")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: no preset 'none'")
    assert bad.stderr.count("\n") == 1
