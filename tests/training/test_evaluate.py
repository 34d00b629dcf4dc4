"""The command: what it writes, what it refuses."""

import json
from dataclasses import asdict

import pytest
import torch
from matplotlib.figure import Figure

from console.errors import run_command
from training.evaluate import app
from training.evaluation import command
from training.evaluation import figures as drawing
from training.evaluation.asked import AXES
from training.evaluation.grids import cells_of
from training.evaluation.measure import CellResult
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.shipped import SHIPPED
from training.trainer.checkpoint import save_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Random networks: d = 2, d = 3, d = 2 without task embedding."""
    folder = tmp_path_factory.mktemp("models")
    shape = {"components": (2, 3), "layers": 1, "heads": 1, "width": 8}
    for name, config in {
        "two": ModelConfig(2, **shape),
        "three": ModelConfig(3, **shape),
        "plain": ModelConfig(2, **shape, task_embedding=False),
    }.items():
        torch.manual_seed(0)
        stated = json.loads(json.dumps(asdict(config)))
        save_model(folder / name, TGMM(config).state_dict(), stated, {"steps": 7})
    return folder


def run(*arguments):
    return run_command(app, [str(argument) for argument in arguments])


def results(out):
    return json.loads((out / "results.json").read_text())


def names(record):
    return [row["method"] for row in record["rows"]]


def test_a_network_beside_methods(models, tmp_path, capsys):
    out = tmp_path / "new"
    assert run(models / "two", "--tasks", 4, "--polish", 1, "--methods", "em,spectral", "--out", out) == 0
    found = results(out)
    assert [(cell["d"], cell["K"], cell["N"]) for cell in found["cells"]] == [(2, 2, 128), (2, 3, 128)]
    first, last = found["cells"]
    assert names(first) == ["em-truth", "network", "network + 1 EM layers", "em", "spectral"]
    assert list(last["absent"]) == ["spectral"]
    assert all(row["n_tasks"] == row["total"]["n_tasks"] == 4 for row in first["rows"])
    assert found["models"][0]["sha256"] == json.loads((models / "two.json").read_text())["tensors_sha256"]
    assert found["settings"]["threads"] == torch.get_num_threads()
    assert found["settings"]["seed"] == 0
    assert found["settings"]["command"].endswith(
        "--tasks 4 --polish 1 --views 1 --seed 0 --methods em,spectral"
    )
    printed = capsys.readouterr().out
    assert "d = 2, K = 3, N = 128: statistical error" in printed
    assert "spectral: impossible: needs K <= d = 2" in printed
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "seed 0" in page
    assert sorted(p.name for p in out.iterdir()) == [
        *("error.png", "index.html", "parts", "results.json", "split.png", "time.png")
    ]


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes a second; where figures are not what is tested, none are drawn."""
    monkeypatch.setattr(drawing, "pictures", lambda *_: [])


@pytest.mark.usefixtures("no_figures")
def test_a_method_alone_and_the_same_figures_again(tmp_path, capsys):
    arguments = ("em", "--tasks", 4, "--dims", 2, "--components", 3, "--samples", 32, "--seed", 9)
    for name in ("first", "second"):
        assert run(*arguments, "--out", tmp_path / name) == 0
    [first], [second] = (results(tmp_path / name)["cells"] for name in ("first", "second"))
    assert names(first) == ["em-truth", "em"]
    assert [row["total"] for row in first["rows"]] == [row["total"] for row in second["rows"]]
    assert first["N"] == 32


@pytest.mark.usefixtures("no_figures")
def test_networks_of_two_dimensions(models, tmp_path, capsys):
    out = tmp_path / "out"
    further = ("--model", models / "three", "--grid", "dxk", "--methods", "none")
    assert run(models / "two", *further, "--tasks", 2, "--polish", 0, "--samples", 16, "--out", out) == 0
    cells = results(out)["cells"]
    assert [(cell["d"], cell["K"]) for cell in cells] == [(2, 2), (2, 3), (3, 2), (3, 3)]
    assert all(names(cell) == ["em-truth", "network"] for cell in cells)


@pytest.mark.usefixtures("no_figures")
def test_with_and_without_task_embedding(models, tmp_path, capsys):
    out = tmp_path / "out"
    ablation = ("--grid", "embedding", "--ablation", models / "plain", "--methods", "none")
    assert run(models / "two", *ablation, "--tasks", 2, "--polish", 0, "--out", out) == 0
    assert names(results(out)["cells"][0]) == ["em-truth", "network", "network without task embedding"]


@pytest.mark.usefixtures("no_figures")
def test_where_em_starts(tmp_path, capsys):
    """Three starts on the same tasks: what sigma does not touch is measured once, clock included."""
    out = tmp_path / "out"
    small = ("--tasks", 3, "--dims", 2, "--components", 2, "--samples", 16)
    assert run("em", "--grid", "initialisation", "--quick", *small, "--out", out) == 0
    cells = results(out)["cells"]
    assert [cell["start"] for cell in cells] == [0, 2, 8]
    assert all(names(cell) == ["em-truth", "em-off-truth", "em"] for cell in cells)
    truth, off, em = ([cell["rows"][place]["total"]["mean"] for cell in cells] for place in range(3))
    assert off[0] == truth[0] == truth[2] != off[2]
    assert len(set(em)) == len({cell["rows"][2]["milliseconds"] for cell in cells}) == 1
    assert "em-off-truth starts from the true weights" in (out / "index.html").read_text()


def test_correlations_stand_on_an_axis_of_their_own():
    """At 1 / (1 - rho), labelled rho: 0.95 and 0.99 would be one tick."""
    column = [CellResult(cell, [], {}) for cell in cells_of("correlation", [2], [2], quick=True)]
    panel = Figure().subplots()
    drawing._draw(panel, column, AXES["correlation"], {}, lambda row: 0.0)
    assert panel.get_xticks().tolist() == pytest.approx([1, 10, 100], rel=1e-12)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "0.9", "0.99"]
    assert panel.get_xscale() == "log"


@pytest.mark.parametrize(
    ("values", "top", "above"),
    [((1e-5, 0.3, 500.0), 30.0, True), ((1e-5, 0.3), 0.3, False), ((0.1, 1e3), 300.0, True)],
)
def test_a_log_axis_holds_the_statistical_errors_of_all_sample_sizes(values, top, above):
    """3,000 times the lowest, or to 30 where that is more, and no further than there are values."""
    panel = Figure().subplots()
    assert drawing._log(panel, values, least=30.0) == above
    assert panel.get_ylim() == pytest.approx((0.7 * min(values), 1.4 * top), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere"],
            f"needs a model, or one of {', '.join(SHIPPED)}; or one of the methods em,",
        ),
        (["em", "--tasks", "0"], "--tasks is 0, needs an integer of at least 2"),
        (["em", "--tasks", "many"], "'many' is not a whole number"),
        (["em", "--grid", "everything"], "no grid 'everything'; there are main, samples"),
        (["em", "--methods", "magic"], "no method 'magic'; there are em,"),
        (["em", "--samples", "4"], "N is 4, needs at least K = 5 points a task"),
        (["em", "--seed", "-1"], "--seed -1: it lies between 0 and 2^63 - 1"),
        (
            ["em", "--grid", "embedding"],
            "--ablation MODEL belongs to --grid embedding, and that grid needs it",
        ),
        (["{two}", "--dims", "8"], "two: this model serves d = 2, none of the cells asked for"),
        (["{two}", "--components", "5"], "two: this model serves K = 2, 3, none of the cells"),
        (["{two}", "--grid", "large"], "asked for, --dims 8,32,128 --components 2,4,8,16"),
        (["{two}", "--polish", "-1"], "--polish is -1, needs an integer of at least 0"),
        (["{two}", "--model", "{plain}"], "plain: is of d = 2, needs another d than the networks before"),
        (["{two}", "--ablation", "{plain}"], "--ablation MODEL belongs to --grid embedding"),
        (
            ["{two}", "--grid", "embedding", "--ablation", "{three}"],
            "needs a network without task embedding of d = 2",
        ),
        (
            ["{plain}", "--grid", "embedding", "--ablation", "{plain}"],
            "--grid embedding needs one network with task embedding beside --ablation",
        ),
        (["em", "--samples", "100000000000"], "N is 100000000000, needs at most 100000 points a task"),
        (["em", "--preset", "cpu"], "No such option: --preset"),
    ],
)
def test_bad_input_is_one_line(models, tmp_path, capsys, arguments, message):
    filled = [a.format(**{name: models / name for name in ("two", "three", "plain")}) for a in arguments]
    assert run(*filled, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_one_line(models, tmp_path, capsys):
    (tmp_path / "m.json").write_bytes((models / "two.json").read_bytes())
    (tmp_path / "m.safetensors").write_bytes((models / "two.safetensors").read_bytes()[:100])
    assert run(tmp_path / "m", "--out", tmp_path / "out") == 2
    assert "m.safetensors: is damaged" in capsys.readouterr().err


def test_out_that_is_not_ours(tmp_path, capsys):
    (tmp_path / "results.json").write_text("kept")
    assert run("em", "--tasks", 2, "--out", tmp_path) == 2
    assert "holds results.json, which training.evaluate did not write" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == "kept"


SAMPLES = ("em", "--grid", "samples", "--samples", "6,9,12", "--dims", 2, "--components", 2, "--tasks", 2)


def figures(out):
    """Everything but what time it took."""
    return [
        [{k: v for k, v in row.items() if "milliseconds" not in k} for row in cell["rows"]]
        for cell in results(out)["cells"]
    ]


@pytest.mark.usefixtures("no_figures")
def test_a_stop_in_any_cell_goes_on_to_the_same_figures(monkeypatch, tmp_path, capsys):
    assert run(*SAMPLES, "--out", tmp_path / "whole") == 0
    measure = command.measure_cell
    for stop in range(3):
        out, measured = tmp_path / str(stop), []

        def stopping(cell, *arguments, stop=stop, measured=measured):
            found = measure(cell, *arguments)  # stopped at the end of the cell, all of it is lost
            if len(measured) == stop:
                raise KeyboardInterrupt
            measured.append(cell)
            return found

        with monkeypatch.context() as planted:
            planted.setattr(command, "measure_cell", stopping)
            capsys.readouterr()
            assert run(*SAMPLES, "--out", out) == 130
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"stopped; {stop} of 3 parts are saved in " if stop else "stopped before")
        assert not (out / "results.json").exists()
        assert out.exists() == bool(stop)
        assert run(*SAMPLES, "--out", out) == 0
        assert figures(out) == figures(tmp_path / "whole")


@pytest.mark.usefixtures("no_figures")
def test_two_runs_that_differ_have_two_folders(models, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    shared = ("--tasks", 2, "--polish", 0, "--methods", "none", "--components", 2, "--samples", 8)
    assert run(models / "two", *shared) == run(models / "plain", *shared) == 0
    assert run(models / "two", *shared, "--seed", 1) == 0
    ending = "main_tasks2_polish0_methodsnone_components2_samples8_seed"
    names = [f"evaluate_plain_{ending}0", f"evaluate_two_{ending}0", f"evaluate_two_{ending}1"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == names
    taken = tmp_path / "results" / names[1]
    before = results(taken)
    assert run(models / "plain", *shared, "--out", taken) == 2
    assert "holds a run of other settings (network, d = 2: " in capsys.readouterr().err
    assert results(taken) == before


def test_the_slowest_method_only_when_asked():
    assert "posterior-mean" not in command._method_names(None, None)
    assert "posterior-mean" in command._method_names(None, "all")
    assert command._method_names(None, "posterior-mean") == ["posterior-mean"]
    assert command._method_names("posterior-mean", None) == ["posterior-mean"]
    assert len(command._method_names(None, None)) == len(command._method_names(None, "all")) - 1
