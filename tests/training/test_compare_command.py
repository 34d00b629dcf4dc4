"""The command: what it writes, keeps and refuses. Parts are planted, so that only the command counts."""

import dataclasses
import json
import math

import pytest
import torch
from matplotlib.figure import Figure

from console import typed_json
from console.errors import STOPPED, run_command
from console.output import Picture
from console.sections import Section, Table
from training import compare
from training.comparison import command
from training.comparison.common.parts import Part
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.shipped import SHIPPED
from training.trainer.checkpoint import save_model

TWO = ModelConfig(2, (2, 3), layers=1, heads=1, width=8)


def written_model(folder, name, config=TWO):
    torch.manual_seed(0)
    stated = json.loads(json.dumps(dataclasses.asdict(config)))
    save_model(folder / name, TGMM(config).state_dict(), stated, {"steps": 7})
    return folder / name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return written_model(tmp_path_factory.mktemp("models"), "two")


@dataclasses.dataclass(frozen=True)
class Planted:
    """What the planted parts measure."""

    value: float
    odd: float
    key: str


@pytest.fixture
def computed(monkeypatch):
    """Two planted parts; the list says which were computed. The second refuses a pooling read-out."""
    calls = []

    def part(key, refusal=""):
        def compute(subject, start):
            start("one")
            start("two")
            calls.append(key)
            return Planted(subject.effort.tasks / 4, float("nan"), key)

        def render(data):
            assert math.isnan(data.odd)
            table = Table("T", ("name", "value", "control"), [["a", f"{data.value:g}", "0"]], "Note.")
            figure = Figure(figsize=(1, 1))
            picture = Picture(f"{data.key}_picture", f"Caption of {data.key}", figure)
            return Section([f"Found {data.value:g} by {data.key}."], [table], [picture])

        def refuses(subject):
            return refusal if subject.model.config.readout == "pooling" else ""

        return Part(key, f"Title {key}", Planted, compute, render, lambda s: 2, (f"{key}_picture",), refuses)

    parts = {"first": part("first"), "second": part("second", "it has no component tokens")}
    monkeypatch.setattr(command, "PARTS", parts)
    monkeypatch.setattr(command, "PICTURES", ("first_picture", "second_picture"))
    return calls


def run(*arguments):
    return run_command(compare.app, [str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def results(out):
    return json.loads((out / "results.json").read_text())


def test_what_it_writes(model, computed, tmp_path, capsys):
    out = tmp_path / "new"
    assert run(model, "--tasks", 20, "--out", out) == 0
    assert computed == ["first", "second"]
    found = results(out)
    assert found["command"] == "training.compare"
    assert found["parts"]["first"]["value"] == 5
    assert found["parts"]["first"]["odd"] is None
    assert found["refused"] == {}
    assert found["settings"]["command"].endswith("--tasks 20 --seed 0")
    assert found["model"]["training"] == {"steps": 7}
    assert (out / "first_picture.png").exists()
    page = (out / "index.html").read_text()
    for text in ("Title first", "Found 5 by second.", "Caption of second", "Note.", "control"):
        assert text in page
    assert page.index("Caption of first") < page.index("Title second", page.index("Caption of first"))
    assert "too little of it" not in page
    assert "Found 5 by first." in capsys.readouterr().out


def test_what_is_finished_is_not_computed_again(model, computed, tmp_path):
    arguments = (model, "--tasks", 20, "--out", tmp_path)
    assert run(*arguments) == 0
    before = results(tmp_path)
    assert run(*arguments) == 0
    assert computed == ["first", "second"]
    assert results(tmp_path) == before


@pytest.mark.parametrize("change", [("--tasks", 24), ("--seed", 1), ("--quick",)])
def test_a_comparison_of_other_settings_is_refused(model, computed, tmp_path, change, capsys):
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    before = results(tmp_path)
    assert "holds a run of other settings" in refusal(
        capsys, model, "--tasks", 20, *change, "--out", tmp_path
    )
    assert (computed, results(tmp_path)) == (["first", "second"], before)


def test_another_network_is_refused_and_other_code_computes_again(
    model, computed, tmp_path, monkeypatch, capsys
):
    assert run(model, "--tasks", 20, "--out", tmp_path / "out") == 0
    wide = written_model(tmp_path, "wide", dataclasses.replace(TWO, width=16))
    line = refusal(capsys, wide, "--tasks", 20, "--out", tmp_path / "out")
    assert "other settings (network: " in line
    assert computed == ["first", "second"]
    monkeypatch.setattr("console.cells.code_digest", lambda rooms: "other")
    assert run(model, "--tasks", 20, "--out", tmp_path / "out") == 0
    assert computed == ["first", "second"] * 2


def test_a_stopped_comparison_goes_on(model, computed, tmp_path, monkeypatch, capsys):
    second = command.PARTS["second"]

    def stopped(subject, start):
        raise KeyboardInterrupt

    monkeypatch.setitem(command.PARTS, "second", dataclasses.replace(second, compute=stopped))
    assert run(model, "--tasks", 20, "--out", tmp_path) == STOPPED
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"stopped; 1 of 2 parts are saved in {tmp_path}, the same command goes on there"
    )
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setitem(command.PARTS, "second", second)
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["first", "second"]


@pytest.mark.parametrize("damage", ["", "{", '{"fingerprint": 3}', "[]", "null"])
def test_a_damaged_part_is_computed_again(model, computed, tmp_path, damage):
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    (tmp_path / "parts" / "first.json").write_text(damage)
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["first", "second", "first"]


def edited(path, change):
    kept = json.loads(path.read_text())
    change(kept["data"])
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data["result"].update(value="5"), "result.value is '5', needs a number"),
        (lambda data: data["result"].pop("key"), "result has no 'key'"),
        (lambda data: data["result"].update(more=1), "result has an unknown 'more'"),
        (lambda data: data.update(seconds=None), "seconds is None, needs a number"),
        (lambda data: data.update(result=[1]), "result is [1], needs an object"),
    ],
)
def test_an_edited_part_is_refused_in_one_line(model, computed, tmp_path, capsys, change, problem):
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    path = tmp_path / "parts" / "first.json"
    edited(path, change)
    line = refusal(capsys, model, "--tasks", 20, "--out", tmp_path)
    assert line == f"error: {path}: {problem}; remove the file, and it is computed again"
    path.unlink()
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["first", "second", "first"]


def test_a_part_of_an_older_format_is_computed_again(model, computed, tmp_path):
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert results(tmp_path)["format"] == typed_json.FORMAT
    edited(tmp_path / "parts" / "first.json", lambda data: data.update(format=typed_json.FORMAT - 1))
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["first", "second", "first"]


def test_a_network_of_another_kind_is_asked_what_it_can_be(computed, tmp_path, capsys):
    pooling = written_model(tmp_path, "pooling", dataclasses.replace(TWO, readout="pooling"))
    out = tmp_path / "out"
    assert run(pooling, "--tasks", 20, "--out", out) == 0
    assert computed == ["first"]
    assert results(out)["refused"] == {"second": "it has no component tokens"}
    assert "Not asked: it has no component tokens." in (out / "index.html").read_text()
    assert "not asked: it has no component tokens" in capsys.readouterr().out
    assert refusal(capsys, pooling, "--only", "second", "--out", out).endswith("it has no component tokens")


def test_a_part_that_fails_does_not_take_the_others_with_it(model, computed, tmp_path, capsys, monkeypatch):
    first = command.PARTS["first"]

    def failing(subject, start):
        raise ValueError("the network's estimate\nis not finite")

    monkeypatch.setitem(command.PARTS, "first", dataclasses.replace(first, compute=failing))
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    reason = "could not be computed: the network's estimate is not finite"
    assert results(tmp_path)["refused"] == {"first": reason}
    assert list(results(tmp_path)["parts"]) == ["second"]
    assert reason in capsys.readouterr().out
    monkeypatch.setitem(command.PARTS, "first", first)  # nothing was kept of the failure
    assert run(model, "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["second", "first"]


def test_some_parts_only(model, computed, tmp_path):
    assert run(model, "--only", "second", "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["second"]
    assert "Title first" not in (tmp_path / "index.html").read_text()
    assert run(model, "--only", "first", "--tasks", 20, "--out", tmp_path) == 0
    assert computed == ["second", "first"]
    assert list(results(tmp_path)["parts"]) == ["first", "second"]  # the report loses none


def test_quick_says_so(model, computed, tmp_path):
    assert run(model, "--quick", "--out", tmp_path) == 0
    assert "too little of it to conclude" in (tmp_path / "index.html").read_text()
    assert results(tmp_path)["settings"]["effort"] == {"quick": True, "seed": 0, "tasks": compare.QUICK_TASKS}


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tasks", "0"), "--tasks is 0, needs an integer of at least 16"),
        (("--tasks", "15"), "--tasks is 15"),
        (("--tasks", "-3"), "--tasks is -3"),
        (("--tasks", "many"), "'many' is not a whole number"),
        (("--only", "third"), "--only third: it is one of first, second"),
        (("--only", ""), "--only : it is one of first, second"),
        (("--seed", "-1"), "--seed -1"),
    ],
)
def test_bad_options(model, capsys, tmp_path, arguments, message):
    assert message in refusal(capsys, model, *arguments, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("computed")
def test_bad_checkpoints(capsys, tmp_path):
    out = ("--out", tmp_path / "new")
    assert "no such file" in refusal(capsys, tmp_path / "none.safetensors", *out)
    assert "one checkpoint or one --study is needed" in refusal(capsys)
    (tmp_path / "text.safetensors").write_text("hello")
    assert "text.json: cannot be read" in refusal(capsys, tmp_path / "text.safetensors", *out)
    names = ", ".join(SHIPPED)
    assert f"no such file; needs a model, or one of {names}" in refusal(capsys, "d3", *out)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("computed")
def test_others_files_are_not_written_over(model, capsys, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    assert "did not write" in refusal(capsys, model, "--tasks", 20, "--out", tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_the_parts_have_names_of_their_own():
    pictures = [name for part in command.PARTS.values() for name in part.pictures]
    assert len(set(pictures)) == len(pictures)
    assert list(command.PARTS) == [part.key for part in command.PARTS.values()]
