"""The folder of a run: its default name, and what may be written into it."""

import json
from pathlib import Path
from typing import Annotated

import pytest
import typer

from console.errors import BadInputError, run_command
from console.folder import default_out, refuse_another_run, word
from console.options import folder

RUN = {"seed": 0, "sizes": [2, 8], "network": "a" * 64}


def hold(out, name, **changes):
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": "tested", "run": RUN} | changes))


@pytest.mark.parametrize("name", ["results.json", "parts/a.json"])
def test_a_folder_of_the_same_run_is_taken_and_of_another_refused(tmp_path, name):
    refuse_another_run(tmp_path, "tested", RUN)  # an empty one
    hold(tmp_path, name)
    refuse_another_run(tmp_path, "tested", RUN | {"sizes": (2, 8)})  # as JSON has it
    with pytest.raises(BadInputError, match=r"other settings \(seed: 0 there, 1 now\); name another folder"):
        refuse_another_run(tmp_path, "tested", RUN | {"seed": 1})
    with pytest.raises(BadInputError, match=r"\(quick: null there, true now\)"):
        refuse_another_run(tmp_path, "tested", RUN | {"quick": True})
    with pytest.raises(BadInputError, match='network: "aaa'):
        refuse_another_run(tmp_path, "tested", RUN | {"network": "b" * 64})
    with pytest.raises(BadInputError, match=r"of tested, not of other"):
        refuse_another_run(tmp_path, "other", RUN)


def test_results_that_do_not_say_their_settings_are_not_replaced(tmp_path):
    hold(tmp_path, "results.json", run=None)
    with pytest.raises(BadInputError, match=r"results\.json, which does not say its settings"):
        refuse_another_run(tmp_path, "tested", RUN)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"run": 3}'])
def test_a_damaged_cell_is_nobodys(tmp_path, content):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.json").write_text(content)
    refuse_another_run(tmp_path, "tested", RUN)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("d8", "d8"),
        (Path("data/my points.csv"), "my-points"),
        ("runs/d8/model.safetensors", "runs-d8"),
        ("runs/d8/step-3.safetensors", "step-3"),
        (Path("../../x.npy"), "x"),
        ("1e-2,1e-4", "1e-2-1e-4"),
        (["d2", "runs/d8/model.safetensors"], "d2-runs-d8"),
        ("..", ""),
        ("\udcff", ""),
    ],
)
def test_words(value, name):
    assert word(value) == name


@pytest.fixture
def named():
    """The default folder of a call of a small command."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(
        context: typer.Context,
        what: str,
        grid: str = "main",
        max_dim: int | None = None,
        only: str | None = None,
        quick: Annotated[bool, typer.Option("--quick")] = False,
        seed: int = 0,
        out: Annotated[Path | None, typer.Option(parser=folder)] = None,
    ) -> None:
        found.append(out or default_out("tried", context, ("what", "grid"), leave=("only",)))

    found = []

    def call(*arguments):
        code = run_command(app, list(arguments))
        return code or str(found.pop())

    return call


def test_the_default_folder_names_what_it_holds(named):
    assert named("d2", "--grid", "samples", "--seed", "1") == "results/tried_d2_samples_seed1"
    assert named("d2", "--only", "a") == named("d2") == "results/tried_d2_main_seed0"
    assert named("d2", "--quick", "--max-dim", "3") == "results/tried_d2_main_max-dim3_quick_seed0"
    assert named("d2", "--out", "mine") == "mine"
    long = [named("d2", "--grid", "x" * 200 + end) for end in "ab"]
    assert all(len(name) == len("results/") + 100 for name in long)
    assert long[0] != long[1]


def test_an_empty_out_is_refused(named, capsys):
    assert named("d2", "--out", "") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "'--out': is empty" in line
