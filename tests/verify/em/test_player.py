"""``--player``: the page, the numbers that it and results.json hold, and what is refused."""

import json
import re

import pytest
import torch
from commands import TINY_GRID, invoke, run, strict_json

from console.output import significant
from constructions.em.weights import em_construction
from verify.em import figures
from verify.em.measure import measure
from verify.em.played import measurement_to_play
from verify.em.player import MOST_NUMBERS
from verify.em.problems import random_problem
from verify.em_construction import app

DATA = re.compile(r'<script type="application/json" id="scene">(.*?)</script>', re.DOTALL)


def scene_of(out):
    found = DATA.search((out / "player.html").read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])


def held(scene, at, name, token):
    values = scene["run"]["values"][scene["run"]["states"][at]["blocks"][name]]
    return values["rows"][scene["run"]["classes"][values["of"]][token]]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Two tasks, of which the first is played."""
    out = tmp_path_factory.mktemp("player") / "out"
    sizes = ("--dims", 2, "--components", 2, "--samples", 9, "--trials", 2, "--steps", 2)
    rest = ("--pieces", 16, "--no-certify")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "pictures", lambda *_: [])
        outcome, results = run(out, *sizes, *rest, "--player")
    assert f"wrote {out / 'index.html'}, player.html, results.json" in outcome.out
    return scene_of(out), results


class TestNumbers:
    def test_the_page_holds_what_results_hold(self, played):
        scene, results = played
        assert scene["own"]["played"] == results["played"]
        found = results["played"]
        assert (found["problem"], found["start"], found["pieces_mean"], found["task"]) == (
            *("d=2 K=2 N=9", "random-points"),
            *(16, 0),
        )

    def test_errors_are_among_those_of_the_records(self, played):
        """Of two tasks: the first one's largest error is at least one of the two, so at most the largest."""
        _, results = played
        records = results["records"]
        assert len(records) == len(results["played"]["steps"]) == 2
        for record, step in zip(records, results["played"]["steps"], strict=True):
            spread = record["path"]["largest_mean_error"]
            assert max(step["path"]["mean_error"]) in (spread["min"], spread["max"])
            one = record["one_step"]["mean_error"]
            assert one["min"] <= min(step["one_step"]["mean_error"])
            assert max(step["one_step"]["mean_error"]) <= one["max"]
            for group in ("one_step", "path"):
                for name in ("mean", "weight"):
                    pairs = zip(step[group][f"{name}_error"], step[group][f"{name}_bound"], strict=True)
                    assert all(error <= bound for error, bound in pairs)

    def test_texts_are_printed_as_the_report_prints_them(self, played):
        scene, results = played
        for column in scene["own"]["columns"]:
            for step, texts in zip(results["played"]["steps"], column["printed"], strict=True):
                values = step
                for name in column["key"].split("."):
                    values = values[name]
                assert texts == [significant(value, 4) for value in values]

    def test_the_stream_holds_the_means_and_weights_of_the_results(self, played):
        """Token k keeps component k; its blocks after a step are the run's mixture, to the last bit."""
        scene, results = played
        mixtures = [results["played"]["begin"], *(step["layers"] for step in results["played"]["steps"])]
        for at, mixture in zip((0, 2, 4), mixtures, strict=True):
            assert [held(scene, at, "mu", k) for k in (0, 1)] == mixture["means"]
            assert held(scene, at, "pi", 0) == mixture["weights"]
            assert scene["own"]["layers"][at // 2] == mixture["means"]  # d = 2: drawn as they are


def test_the_measurement_that_is_played_has_fewest_coordinates_from_two_on_and_most_pieces():
    generator = torch.Generator().manual_seed(0)
    found = []
    for d in (1, 3, 2):
        problem = random_problem(d, 2, 9, "random-points", 1, generator)
        for pieces in (8, 16):
            em = em_construction(d, 2, 1, pieces, radius=problem.smallest_radius())
            found.append(measure(em, problem, torch.float64, "cpu", 0, printed=False))
    assert measurement_to_play(found) is found[-1]
    assert measurement_to_play(found[:2]) is found[1]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", ["tied_spherical", "spherical", "diagonal"])
def test_variances_are_played(kind, tmp_path):
    grid = ("--dims", 2, "--components", 2, "--samples", 12, "--trials", 1, "--steps", 1, "--pieces", 16)
    _, results = run(tmp_path, *grid, "--no-certify", "--covariance", kind, "--player")
    scene = scene_of(tmp_path)
    keys = [column["key"] for column in scene["own"]["columns"]]
    assert "one_step.covariance_error" in keys
    assert len(scene["run"]["states"]) == 1 + len(scene["layers"])
    found = results["played"]["steps"][0]["layers"]["covariances"]
    shape = {"tied_spherical": (), "spherical": (2,), "diagonal": (2, 2)}[kind]
    assert torch.tensor(found).shape == shape


@pytest.mark.usefixtures("no_figures")
def test_own_points_of_four_coordinates_are_projected_and_said_so(tmp_path):
    run(
        tmp_path,
        "--dataset",
        "iris",
        "--components",
        3,
        "--steps",
        1,
        "--pieces",
        8,
        "--no-certify",
        "--player",
    )
    scene = scene_of(tmp_path)
    assert scene["own"]["axes"] == ["first principal axis", "second principal axis"]
    assert any("first two principal axes" in note for note in scene["notes"])
    assert {len(at) for at in scene["own"]["points"]} == {2}
    assert any("the stream holds the points less" in note for note in scene["notes"])


@pytest.mark.usefixtures("no_figures")
def test_a_run_without_the_option_removes_the_page_and_keeps_the_figures(tmp_path):
    """Its numbers are no longer in results.json. The option is no setting: the folder takes both runs."""
    _, first = run(tmp_path, *TINY_GRID, "--no-certify", "--player")
    assert (tmp_path / "player.html").exists()
    _, second = run(tmp_path, *TINY_GRID, "--no-certify")
    assert not (tmp_path / "player.html").exists()
    assert "played" not in second
    assert first["run"] == second["run"]


def test_a_page_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "player.html").write_text("mine")
    outcome = invoke(app, *TINY_GRID, "--player", "--out", tmp_path)
    assert outcome.code == 2
    assert "holds player.html, which verify.em_construction did not write" in outcome.err
    assert (tmp_path / "player.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--covariance", "full"), "--player: --covariance full has too many layers a step to be played"),
        (("--covariance", "tied"), "--player: --covariance tied has too many layers a step to be played"),
        (
            ("--dims", 8, "--components", 10, "--samples", 10_000, "--steps", 20),
            "--player: 20 steps of N = 10000, K = 10 are 8,000,000 numbers in a page; at most "
            f"{MOST_NUMBERS:,}",
        ),
    ],
)
def test_what_cannot_be_played_is_one_line_before_the_work(asked, said, tmp_path):
    outcome = invoke(app, *asked, "--trials", 1, "--player", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {said}")
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # its bounds take seconds
@pytest.mark.usefixtures("no_figures")
def test_a_page_of_200_points_is_below_three_megabytes(tmp_path):
    sizes = ("--dims", 2, "--components", 3, "--samples", 200, "--trials", 1, "--steps", 10, "--pieces", 8)
    run(tmp_path, *sizes, "--no-certify", "--player")
    assert (tmp_path / "player.html").stat().st_size < 3e6
    assert strict_json(tmp_path / "results.json")["played"]["steps"][9]["step"] == 10
