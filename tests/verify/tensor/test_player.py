"""``--player`` of both tensor power commands: numbers of the page and of the results, and what is refused."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from commands import invoke, strict_json

from console.output import significant
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from verify.player.layers import blocks_shown, layers_shown
from verify.softmax_tensor_power import app as softmax
from verify.tensor import softmax_command, softmax_figures, softmax_rows
from verify.tensor.data import gaussian_problem
from verify.tensor.measure import Runtime
from verify.tensor.player import disc_of, play
from verify.tensor.player_words import WORDS

DATA = re.compile(r'<script type="application/json" id="scene">(.*?)</script>', re.DOTALL)
STEPS = 2


def scene_in(page):
    found = DATA.search(page)
    assert found is not None
    return json.loads(found[1])


def powers(dim):
    yield tensor_power_construction(dim, STEPS, normalise="rms"), 2 * dim, dim
    yield softmax_tensor_power_construction(dim, STEPS, 1e-4), 2 * dim, dim + 1


@pytest.mark.parametrize("evaluation", ["dense", "structured"])
@pytest.mark.parametrize("form", [0, 1])
def test_page_numbers_and_stream_are_one_run(form, evaluation):
    problem = gaussian_problem(3, 2, torch.Generator().manual_seed(1))
    power, heads, tokens = list(powers(3))[form]
    on = Runtime(evaluation=evaluation)
    found, page = play(power, problem, "a form", on, STEPS, "verify.test")
    scene = scene_in(page)
    assert scene["own"]["played"]["steps"][1]["layers"] == found.steps[1].layers
    run = scene["run"]
    assert (run["tokens"], len(run["states"])) == (tokens, 1 + 2 * STEPS)
    assert [len(state["heads"]) for state in run["states"]] == [0, heads, 2 - form, heads, 2 - form]
    for at, vector in zip((0, 2, 4), (found.begin, *(step.layers for step in found.steps)), strict=True):
        values = run["values"][run["states"][at]["blocks"]["v"]]
        assert values["rows"][run["classes"][values["of"]][0]] == vector
    wanted = power.run(problem.T, problem.v, steps=STEPS, **on.arguments).path[0]
    assert wanted[1:].tolist() == [step.layers for step in found.steps]
    for step in found.steps:
        assert step.error <= step.bound
        apart = torch.tensor(step.layers, dtype=torch.float64) - torch.tensor(
            step.reference, dtype=torch.float64
        )
        assert float(apart.norm()) == pytest.approx(step.error, rel=1e-14)  # a length of three numbers: few u
    for column in scene["own"]["columns"]:
        assert column["printed"] == [[significant(getattr(s, column["key"]), 4)] for s in found.steps]


def test_words_and_formulas_are_there_for_every_block_and_layer():
    for power, heads, _ in powers(2):
        layers = layers_shown(power.construction, WORDS)
        assert all(layer.does and layer.step for layer in layers)
        assert len(layers[0].heads) == heads
        assert layers[0].norm
        assert all(block.holds for block in blocks_shown(power.stream, WORDS))
        for text in [layers[0].norm, *(head.formula for layer in layers for head in layer.heads)]:
            ET.fromstring(f"<all>{text}</all>")  # noqa: S314  our own text


def test_the_disc_holds_start_and_end():
    end = torch.tensor([0.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    start = torch.tensor([0.6, 0.0, 0.8, 0.0], dtype=torch.float64)
    _, directions, note = disc_of(torch.stack([start, end]))
    assert (torch.stack([start, end]) @ directions).numpy() == pytest.approx(
        torch.tensor([[0.8, 0.6], [2.0, 0.0]], dtype=torch.float64).numpy(), abs=1e-15
    )
    assert "plane" in note
    assert disc_of(start[None, :2])[1].tolist() == [[1, 0], [0, 1]]
    assert bool(disc_of(torch.stack([end, end]))[1].isfinite().all())  # a path that stands still


def test_the_command_writes_the_page_and_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(softmax_figures, "pictures", lambda *_: [])
    monkeypatch.setattr(softmax_command, "RECOVERED", ())
    monkeypatch.setattr(softmax_rows, "EPSILONS", softmax_rows.EPSILONS[::6])
    monkeypatch.setattr(softmax_rows, "SINKS", (36.0,))
    asked = ("--dims", "9,3", "--pairs", 1, "--steps", STEPS, "--trials", 2, "--no-certify", "--player")
    outcome = invoke(softmax, *asked, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    results = strict_json(tmp_path / "results.json")
    scene = scene_in((tmp_path / "player.html").read_text(encoding="utf-8"))
    assert scene["own"]["played"] == results["played"]
    assert (results["played"]["problem"], results["played"]["form"]) == ("Gaussian, d=3", "softmax, p=1")
    rows = [row for row in results["paths"] if row["problem"] == "Gaussian, d=3"]
    for row, step in zip(rows, results["played"]["steps"], strict=True):
        assert step["error"] / step["length"] <= row["largest_error"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--dims", 16), "--player: d = 16; a tensor with d from 2 to 8 is played"),
        (("--steps", 101), "--player: --steps 101 are too many for a page; it plays up to 100"),
    ],
)
def test_what_cannot_be_played_is_one_line_before_the_work(asked, said, tmp_path):
    outcome = invoke(softmax, *asked, "--trials", 1, "--player", "--out", tmp_path / "out")
    assert (outcome.code, outcome.err.strip()) == (2, f"error: {said}")
    assert not (tmp_path / "out").exists()
