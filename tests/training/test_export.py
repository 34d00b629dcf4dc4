"""python -m training.export: what is written reads back, nothing is written over, bad input is one line."""

from pathlib import Path

import pytest
import torch

from console.errors import run_command
from constructions.em.tasks import HYPOTHESES
from training.export import app
from training.interpretability.circuit_files import load_circuit
from training.serving.loading import load_released

SMALL = ["--dims", "1", "--components", "2", "--steps", "3", "--pieces", "8"]


def test_em_with_its_roles_and_hypotheses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "circuits"
    assert run_command(app, ["em", "--out", str(out), *SMALL, "--dtype", "float32"]) == 0
    said = capsys.readouterr().out
    assert said == (
        f"wrote {out / 'em.safetensors'} and its .json: EM, 3 steps, d <= 1, K <= 2, "
        "the roles of 3 heads and 9 groups of hidden units\n"
    )
    circuit = load_circuit(out / "em")
    assert circuit.transformer.shape.loops == 3
    assert (circuit.columns("x").stop, circuit.columns("slot")) == (1, slice(1, 3))
    assert circuit.hypotheses == (*HYPOTHESES, "the radius is 12, the floor 1e-08")
    assert {weight.dtype for weight in circuit.transformer.parameters()} == {torch.float32}


def test_a_learned_network_without_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app, ["d2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("d2.safetensors and its .json: d2, no roles\n")
    circuit, released = load_circuit(tmp_path / "d2"), load_released("d2")
    assert circuit.source == f"learned, SHA-256 {released.sha256}"
    weights = released.model.backbone.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in circuit.transformer.state_dict().items())


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "em.json").write_text("mine")
    assert run_command(app, ["em", "--out", str(tmp_path), *SMALL]) == 2
    assert capsys.readouterr().err == (
        f"error: --out {tmp_path}: has em.json already, needs a folder without\n"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["em", "--dtype", "float16"], "float16"),
        (["em", "--steps", "0"], "steps"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, [*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run_command(app, ["em", "--out", str(tmp_path / "file"), *SMALL]) == 2
    assert "cannot be made" in capsys.readouterr().err
