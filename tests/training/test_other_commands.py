"""training.release, .curves, .throughput and .real_data on a tiny run: what they write, say and refuse."""

import contextlib
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from training_runs import Outcome, preset, train

from baselines.em_estimator import EMMixture
from console.errors import run_command
from training import curves, evaluate, real_data, release, throughput
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving import real_data as real_data_work
from training.serving import release as release_work
from training.serving.loading import load_released
from training.trainer import curves as curves_work
from training.trainer import throughput as throughput_work
from training.trainer.checkpoint import load_model, save_model
from training.trainer.config import RunConfig
from training.trainer.processes import Processes


def run(module, *arguments) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(module.app, [str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(module, *arguments) -> str:
    outcome = run(module, *arguments)
    assert outcome.code == 2, outcome
    lines = outcome.err.strip().splitlines()
    assert lines[-1].startswith("error: "), outcome
    return lines[-1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A finished run of K = 1, 2 and an evaluation of its model."""
    folder = tmp_path_factory.mktemp("tiny")
    assert train("--preset", preset(folder), "--out", folder / "run").code == 0
    outcome = run(
        evaluate, folder / "run" / "model.safetensors", "--tasks", 4, "--polish", 1, "--methods", "none",
        "--samples", 16, "--out", folder / "measured",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    return folder


@pytest.fixture
def tiny_is_a_preset(tiny, monkeypatch):
    """The settings of the tiny run are those of every preset."""
    config = json.loads((tiny / "run" / "config.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(release_work, "load_preset", lambda name: RunConfig.from_dict(config))


def copied(tiny, folder):
    """(run, measured): copies of the tiny run's folders, to be damaged."""
    return tuple(shutil.copytree(tiny / name, folder / name) for name in ("run", "measured"))


def released(run_folder, measured, out, name="tiny"):
    return run_folder, "--evaluation", measured, "--name", name, "--out", out


def rewrite(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_keeps_the_weights_and_tells_the_figures(tiny, tmp_path):
    arguments = released(tiny / "run", tiny / "measured", tmp_path)
    assert run(release, *arguments).code == 0
    before, config, _ = load_model(tiny / "run" / "model.safetensors")
    after, again, facts = load_model(tmp_path / "tgmm_tiny.safetensors")
    assert config == again
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    card = (tmp_path / "tgmm_tiny.md").read_text(encoding="utf-8")
    measured = json.loads((tiny / "measured" / "results.json").read_text(encoding="utf-8"))
    for cell in measured["cells"]:
        for row in cell["rows"]:
            assert f"| {cell['K']} | {row['method']} | {row['total']['mean']:.4f} |" in card
    assert measured["models"][0]["sha256"] in card
    assert f"    {measured['settings']['command']} --out results/tiny\n" in card
    assert f"{facts['steps']:,} steps" in card
    assert run(release, *arguments).code == 0  # again over its own file


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_never_replaces_another_model(tiny, tmp_path):
    arguments = released(tiny / "run", tiny / "measured", tmp_path)
    assert run(release, *arguments).code == 0
    path = tmp_path / "tgmm_tiny.safetensors"
    tensors, config, facts = load_model(path)
    save_model(path, {name: value + 1 for name, value in tensors.items()}, config, facts)
    before = path.read_bytes()
    assert "tgmm_tiny.safetensors: is another model" in refusal(release, *arguments)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_refuses_the_evaluation_of_another_model(tiny, tmp_path):
    run_folder, measured = copied(tiny, tmp_path)
    rewrite(measured / "results.json", lambda found: found["models"][0].update(sha256="0" * 64))
    line = refusal(release, *released(run_folder, measured, tmp_path / "w"))
    assert "is no evaluation of" in line
    assert not (tmp_path / "w").exists()


@pytest.mark.usefixtures("tiny_is_a_preset")
@pytest.mark.parametrize(
    ("missing", "message"), [("run", "no such file|cannot be read|missing"), ("measured", "results.json")]
)
def test_release_needs_both_folders(tiny, tmp_path, missing, message):
    folders = {"run": tiny / "run", "measured": tiny / "measured"} | {missing: tmp_path / "nothing"}
    line = refusal(release, *released(folders["run"], folders["measured"], tmp_path))
    assert "nothing" in line
    assert re.search(message, line)


def test_release_needs_the_run_of_a_preset(tiny, tmp_path):
    folders = tiny / "run", tiny / "measured", tmp_path / "w"
    assert "is a run of other settings than preset smoke" in refusal(release, *released(*folders, "smoke"))
    assert re.search("no preset 'tiny' .*there are .*cpu-small.*smoke", refusal(release, *released(*folders)))
    for name in ("", "../d8", "d8.toml", "d8\n", "\u00e98"):
        assert "needs letters, digits, '-' and '_' only" in run(release, *released(*folders, name)).err
    assert not (tmp_path / "w").exists()


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_needs_every_entry_of_the_evaluation(tiny, tmp_path):
    run_folder, measured = copied(tiny, tmp_path)
    path, out = measured / "results.json", tmp_path / "w"
    whole = path.read_bytes()
    for change, message in [
        (lambda r: r["settings"].update(grid="samples"), "is of the grid 'samples', needs 'main'"),
        (lambda r: r["settings"].pop("command"), "has the command None, needs a string"),
        (lambda r: r["settings"].pop("tasks"), "has no attribute 'tasks'"),
        (lambda r: r.pop("models"), "has no 'models' as training.evaluate writes them"),
        (lambda r: r.update(settings=[]), "has no 'settings'"),
        (lambda r: r.update(cells=3), "has no 'cells'"),
        (lambda r: r.update(cells=[]), "is missing or of another kind"),
        (lambda r: r["cells"][0].pop("rows"), "has no attribute 'rows'"),
        (lambda r: r["cells"][0]["rows"][0]["total"].update(mean="low"), "is missing or of another kind"),
        (lambda r: r["cells"][0]["rows"][0]["total"].update(mean=10**400), "is missing or of another kind"),
    ]:
        path.write_bytes(whole)
        rewrite(path, change)
        assert message in refusal(release, *released(run_folder, measured, out))
    for text in ("[]", "{", "[" * 100_000, "\udcff"):
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        assert str(path) in refusal(release, *released(run_folder, measured, out))
    assert not out.exists()


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_needs_the_learning_curve_and_the_facts(tiny, tmp_path):
    run_folder, measured = copied(tiny, tmp_path)
    metrics, out = run_folder / "metrics.jsonl", tmp_path / "w"
    arguments = released(run_folder, measured, out)
    whole = metrics.read_bytes()
    for text in ("3\n", "{\n", '{"loss": 1}\n', '{"step": 1, "evaluation": 2}\n'):
        metrics.write_text(text)
        assert str(metrics) in refusal(release, *arguments)
    metrics.write_text('{"step": 1, "evaluation": {}}\n')
    assert "has no attribute 'network'" in refusal(release, *arguments)
    metrics.unlink()
    assert f"{metrics}: cannot be read" in refusal(release, *arguments)
    metrics.write_bytes(whole)
    tensors, config, facts = load_model(run_folder / "model.safetensors")
    few = {"config": facts["config"]}
    for known, message in [
        ({"steps": 7}, "has no settings of a run"),
        (few, "has no attribute 'parameters'"),
    ]:
        save_model(run_folder / "model", tensors, config, known)
        assert message in refusal(release, *arguments)
    assert not out.exists()


def test_a_network_of_covariances_is_evaluated_on_its_own_grid(tiny):
    path, model = tiny / "measured" / "results.json", tiny / "run" / "model.safetensors"
    digest = load_released(model).sha256
    assert release_work._evaluation(path, digest, model, "main")["settings"]["grid"] == "main"
    with pytest.raises(ValueError, match="is of the grid 'main', needs 'full'"):
        release_work._evaluation(path, digest, model, "full")


@pytest.mark.usefixtures("tiny_is_a_preset")
def test_release_into_what_is_no_folder(tiny, tmp_path):
    (tmp_path / "file").write_text("kept")
    line = refusal(release, *released(tiny / "run", tiny / "measured", tmp_path / "file"))
    assert line == f"error: --out {tmp_path / 'file'}: cannot be written (File exists)"


def test_curves_show_every_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(curves_work, "FLOOR_TASKS", 20)
    folder = tmp_path / "run"
    source = preset(tmp_path, tasks={"components": [2], "sort_weights": True}, training={"loss": "ordered"})
    assert train("--preset", source, "--out", folder).code == 0
    outcome = run(curves, folder, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [line["step"] for line in found["runs"][0]["curve"]] == [8, 12]
    assert found["levels"][0]["ordered"] > found["levels"][0]["oracle"] > 0
    assert (tmp_path / "out" / "learning_curves.png").stat().st_size > 10_000


def test_curves_refuse_runs_that_cannot_be_compared(tiny, tmp_path):
    other = tmp_path / "run"
    assert train("--preset", preset(tmp_path, tasks={"components": [2]}), "--out", other).code == 0
    assert "tasks of other d, K or covariance" in refusal(
        curves, tiny / "run", other, "--out", tmp_path / "o"
    )
    assert "nothing: holds no config.json" in refusal(curves, tmp_path / "nothing", "--out", tmp_path / "o")


def test_throughput_counts_the_operations_of_a_known_network(monkeypatch):
    """One layer of width 2, one head, 2 hidden units; sequences of 3 and 5 points with 2 component tokens:
    T = 12 tokens, sum of squares 25 + 49."""
    monkeypatch.setattr(throughput_work, "MATRIX", 64)
    config = RunConfig.from_dict(
        {
            "tasks": {"n_features": 1, "components": [2], "samples": [3, 5]},
            "model": {"layers": 1, "heads": 1, "width": 2, "mlp_ratio": 1},
            "training": {"steps": 9, "tasks_per_step": 2, "micro_batches": 1},
        }
    )
    trainer = throughput_work.Trainer(config, Processes(0, 1, torch.device("cpu")))
    weights = sum(p.numel() for p in trainer.model.backbone.parameters())
    assert weights == 4 * 4 + 2 * 4 + 4 + 8  # matrices, biases, two norms
    counted = throughput_work.step_flops(config, trainer, (3, 5), 2)
    assert counted == 3 * (2 * weights * 12 + 4 * 1 * 2 * (25 + 49))
    assert throughput_work.measure(config, Processes(0, 1, torch.device("cpu")), 3).utilisation > 0


def test_throughput_refuses():
    assert "--steps 2: at least 3 are needed" in refusal(throughput, "--preset", "smoke", "--steps", 2)
    assert "no preset 'nowhere'" in refusal(throughput, "--preset", "nowhere")
    line = refusal(throughput, "--preset", "smoke", "--device", "foo")
    assert line == "error: --device foo: it is auto, cpu, or cuda where there is a GPU"


def test_real_data_rescaling_keeps_the_density(monkeypatch, capsys):
    """Dividing X by sigma adds d log sigma to a log-density: the rows are of the data before it."""
    iris = real_data_work.real_data_sets()[0]
    scaled = real_data_work.rescaled(iris, 0)
    sigma = float(iris.X[0, 0] / scaled.data.X[0, 0])
    assert scaled.log_volume == pytest.approx(iris.X.shape[1] * torch.tensor(sigma).log().item(), rel=1e-6)
    rows = real_data_work.learned_rows([iris], "auto", 0)
    by_name = {row.estimator: row for row in rows}
    # EM of unit variances on rescaled data maximises the likelihood of tied variances at that sigma.
    tied = EMMixture(3, covariance_type="tied_spherical", n_init=10, random_state=0).fit(iris.X)
    assert by_name["EM, unit, rescaled"].log_likelihood == pytest.approx(tied.lower_bound_, abs=5e-3)
    assert all(row.adjusted_rand_index > 0.4 for row in rows)


def test_real_data_says_which_k_a_model_does_not_serve():
    model = TGMM(ModelConfig(n_features=2, components=(2,)))
    rows = real_data_work.learned_rows(real_data_work.real_data_sets(2)[:1], model, 0)  # iris, K = 3
    assert [row.problem for row in rows if "network" in row.estimator] == [
        "n_components is 3, this model serves 2"
    ]


def test_real_data_reads_the_model_first(tmp_path, monkeypatch):
    monkeypatch.setattr(real_data_work, "real_data_table", lambda *_: pytest.fail("measured before"))
    line = refusal(real_data, "--model", "typo", "--out", tmp_path / "out")
    assert line.startswith("error: typo: no such file; needs a model, or one of ")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def few_estimators(monkeypatch):
    """EM of two kinds, and no network: the rest is measured in tests of its own."""
    both = {"EM, spherical": "spherical", "EM, full": "full"}
    made = {name: EMMixture(covariance_type=kind, random_state=0) for name, kind in both.items()}
    monkeypatch.setattr(real_data_work, "real_data_estimators", lambda seed: dict(made))
    monkeypatch.setattr(real_data_work, "learned_rows", lambda *_: [])


@pytest.mark.usefixtures("few_estimators")
def test_real_data_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    kinds = np.arange(80) % 2
    X = np.array([[0.0, 0.0], [9.0, 3.0]])[kinds] + rng.normal(size=(80, 2)) @ [[2.0, 1.5], [0.0, 0.5]]
    labels = ["", *("uv"[kind] for kind in kinds[1:])]
    rows = [f"{x!r},{y!r},{label}" for (x, y), label in zip(X.tolist(), labels, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["width,height,kind", *rows]) + "\n")
    outcome = run(real_data, "--data", tmp_path / "d.csv", "--label", "kind", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["columns"] == ["width", "height"]
    assert [row["n_components"] for row in found["rows"]] == [2, 2]
    fit, row = found["fit"], found["rows"][1]
    assert row["adjusted_rand_index"] > 0.8
    # Correlated columns: only full covariances hold them. BIC by hand from the row, 1 + 4 + 6 parameters.
    assert fit["title"].endswith("EM, full")
    assert np.array(fit["covariances"]).shape == (2, 2, 2)
    assert f"BIC {11 * np.log(80) - 2 * 80 * row['log_likelihood']:.6g}; data as given" in outcome.out
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["mean", "of", "height", *(f"{mean[1]:.4g}" for mean in fit["means"])] in lines


@pytest.mark.usefixtures("few_estimators")
def test_real_data_of_ones_own_that_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("x,y\n1.5,2\n2.5,3\n")
    data = ("--data", tmp_path / "d.csv")
    assert "--components is missing" in refusal(real_data, *data)
    assert "--components 3: d.csv has 2 points" in refusal(real_data, *data, "--components", 3)
    assert "--components 0" in refusal(real_data, *data, "--components", 0)
    assert "need --data" in refusal(real_data, "--components", 3)
