"""``python -m verify.em_construction`` on a person's own data: files, starts, estimates."""

import html
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import invoke, run
from matplotlib.figure import Figure

from baselines.em import em as reference_em
from baselines.mixture import Mixture
from console.streams import printable
from constructions.language.assembly import Construction
from constructions.language.readout import SHARPNESS
from constructions.language.rounding import gamma, unit_roundoff
from verify.em import figures as em_figures
from verify.em_construction import app
from verify.engine import report
from verify.engine.record import margin_of, quotient

U = unit_roundoff(torch.float64)

# ---- the user's own data

FAR = 1000.0
START = ([0.3, 0.7], [[FAR - 2.0, FAR + 3.0], [FAR + 2.5, FAR + 1.0]])
STEPS = 3


@pytest.fixture(scope="module")
def points():
    """31 points in two groups around (998, 1003) and (1003, 1001)."""
    rng = np.random.default_rng(7)
    centres = np.array([[-2.0, 3.0], [3.0, 1.0]])[np.arange(31) % 2]
    return FAR + centres + rng.normal(size=(31, 2))


def rows(points, delimiter):
    return "\n".join(delimiter.join(repr(float(v)) for v in row) for row in points) + "\n"


def write_start(path, weights, means):
    path.write_text(json.dumps({"weights": weights, "means": means}))
    return path


def em_from(points, weights, means, steps):
    start = Mixture(*(torch.tensor(v, dtype=torch.float64) for v in (weights, means)))
    return reference_em(torch.tensor(points), init=start, max_iter=steps, tol=0.0).mixture


def assert_same_em(estimate, expected, steps):
    """Two float64 runs of EM on data at 1000, each centred elsewhere.

    Centring rounds a coordinate by at most 1010 u, points and means, so a logit |x - mu|^2/2 moves by at most
    e = 2 sqrt(2) 1010 u D with D <= 14 the diameter of the data, a responsibility by a factor within e^{2e},
    a mean by 2 D e + 1010 u a step. Between groups this far apart the step itself contracts.
    """
    one_step = 2 * 14 * (2 * math.sqrt(2) * 1010 * U * 14) + 1010 * U
    weights, means = (np.array(estimate[name]) for name in ("weights", "means"))
    assert np.abs(means - expected.means.numpy()).max() <= steps * one_step
    assert np.abs(weights - expected.weights.numpy()).max() <= steps * one_step


def own_data(folder, data, *arguments, steps=STEPS):
    settings = ("--steps", steps, "--pieces", "16,64", "--no-certify")
    return run(folder, "--data", data, *settings, *arguments)


def without_heat_maps(patch: pytest.MonkeyPatch) -> None:
    """Pictures of weights with nothing in them: dozens of axes take seconds, and no data stands there."""
    patch.setattr(Construction, "plot_weights", lambda self: [Figure() for _ in self.layers])


@pytest.fixture(scope="module")
def own(tmp_path_factory, points):
    """One full run on the points from START: figures, page and certificates too."""
    folder = tmp_path_factory.mktemp("own")
    np.save(folder / "mine.npy", points)
    start = write_start(folder / "start.json", *START)
    asked = ("--data", folder / "mine.npy", "--init", start, "--steps", STEPS, "--pieces", "16,64")
    with pytest.MonkeyPatch.context() as patch:
        without_heat_maps(patch)
        outcome, results = run(folder / "out", *asked)
    assert {r["certified"]["verdict"] for r in results["records"] if r.get("certified")} == {"held"}
    return folder, outcome, results


def test_estimates_are_in_the_users_coordinates(own, points):
    _, _, results = own
    estimates = results["estimates"]
    for name in ("em", "construction"):
        assert np.array(estimates[name]["weights"]).shape == (2,)
        assert np.array(estimates[name]["means"]).shape == (2, 2)
    assert_same_em(estimates["em"], em_from(points, *START, STEPS), STEPS)
    # Where the clusters are, so that agreement of two wrong numbers would not do. Half a standard deviation.
    assert np.abs(np.array(estimates["em"]["means"]) - [[998, 1003], [1003, 1001]]).max() < 0.5


def test_estimate_of_the_layers_is_at_the_measured_distance_from_em(own):
    """Path error of the last step, and the read-out on top: leakage to other slots and rounding of a sum."""
    _, _, results = own
    last = results["records"][-1]
    assert last["setting"]["pieces_mean"] == 64
    N, radius = last["setting"]["samples"], last["setting"]["radius"]
    em, layers = (results["estimates"][name] for name in ("em", "construction"))
    distance = np.linalg.norm(np.array(em["means"]) - np.array(layers["means"]), axis=1).max()
    read_out = 2 * math.sqrt(2) * radius * (N * math.exp(-SHARPNESS) + gamma(4 * N + 10, U))
    moved_back = 2 * math.sqrt(2) * 1010 * U
    measured = last["path"]["largest_mean_error"]["max"]
    assert abs(distance - measured) <= read_out + moved_back
    assert distance > 0


def test_own_data_in_the_page(own):
    folder, outcome, results = own
    page = (folder / "out" / "index.html").read_text()
    assert "mine.npy" in page
    assert "mine.npy" in outcome.out
    assert "N = 31, d = 2" in page
    assert results["slopes"] == {}  # no two components of this start overlap
    assert {row["components"] for row in results["sweeps"]["optimal"]} == {0}
    assert not re.search(r"https?://", page)
    assert page.count("data:image/png;base64,") == len(list((folder / "out").glob("*.png"))) >= 5


def write_data(folder: Path, form: str, points: np.ndarray) -> Path:
    path = folder / ("d." + form.split()[0])
    if path.suffix == ".npy":
        np.save(path, points)
    elif form == "npz called X":
        np.savez(path, X=points, labels=np.zeros(3))
    elif form == "npz of one":
        np.savez_compressed(path, anything=points)
    elif form == "csv header":
        path.write_text("length,width\n" + rows(points, ","))
    elif form == "csv with BOM":
        path.write_text("length,width\n" + rows(points, ","), encoding="utf-8-sig")
    else:
        delimiter = {"csv": ",", "csv semicolons": ";", "csv semicolons header": ";", "csv tabs": "\t"}[form]
        header = "length;width\n" if form.endswith("header") else ""
        path.write_text(header + rows(points, delimiter).replace("\n", "\r\n"), newline="")
    return path


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    "form",
    [
        "csv",
        "csv header",
        "csv semicolons",
        "csv semicolons header",
        "csv tabs",
        "csv with BOM",
        "npz called X",
        "npz of one",
    ],
)
def test_every_form_of_the_same_points_gives_the_same_numbers(form, own, points, tmp_path):
    folder, _, results = own
    _, found = own_data(tmp_path / "out", write_data(tmp_path, form, points), "--init", folder / "start.json")
    assert found["estimates"] == results["estimates"]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", ["int64", "float32", "bool", "one column"])
def test_other_number_types(kind, points, tmp_path):
    values = points[:, 0] if kind == "one column" else (10 * (points - FAR)).astype(kind)
    np.save(tmp_path / "d.npy", values)
    _, results = own_data(tmp_path / "out", tmp_path / "d.npy", "--components", 1, steps=1)
    # One component: EM's mean is the average of the points, after one step. N additions, then / N.
    expected = np.atleast_2d(values.astype(np.float64).T).mean(1)
    size = np.abs(values.astype(np.float64)).max()
    found = np.array(results["estimates"]["em"]["means"])[0]
    assert np.abs(found - expected).max() <= 2 * (31 + 4) * U * size


@pytest.mark.usefixtures("no_figures")
def test_init_continues_from_a_results_file(own, points, tmp_path):
    folder, _, _ = own
    _, more = own_data(
        tmp_path / "out", folder / "mine.npy", "--init", folder / "out" / "results.json", steps=2
    )
    assert_same_em(more["estimates"]["em"], em_from(points, *START, STEPS + 2), STEPS + 2)
    assert not np.allclose(
        more["estimates"]["em"]["means"], em_from(points, *START, STEPS).means, rtol=0, atol=1e-6
    )


@pytest.mark.usefixtures("no_figures")
def test_init_continues_from_an_estimate_of_the_layers(own, points, tmp_path):
    folder, _, results = own
    layers = results["estimates"]["construction"]
    start = write_start(tmp_path / "start.json", layers["weights"], layers["means"])
    _, more = own_data(tmp_path / "out", folder / "mine.npy", "--init", start, steps=1)
    assert_same_em(more["estimates"]["em"], em_from(points, layers["weights"], layers["means"], 1), 1)


@pytest.mark.usefixtures("no_figures")
def test_a_given_radius_changes_no_estimate(own, points, tmp_path):
    folder, _, _ = own
    start = folder / "start.json"
    _, results = own_data(tmp_path / "out", folder / "mine.npy", "--init", start, "--radius", 1010)
    assert {r["setting"]["radius"] for r in results["records"]} == {1010.0}
    assert_same_em(results["estimates"]["em"], em_from(points, *START, STEPS), STEPS)


@pytest.mark.usefixtures("no_figures")
def test_the_likeliest_of_several_starts_is_reported(points, tmp_path):
    np.save(tmp_path / "d.npy", points)
    _, results = own_data(tmp_path / "out", tmp_path / "d.npy", "--components", 3, "--trials", 6, steps=1)
    assert {r["setting"]["tasks"] for r in results["records"]} == {6}
    em = results["estimates"]["em"]
    end = Mixture(*(torch.tensor(em[name], dtype=torch.float64) for name in ("weights", "means")))
    again = float(end.log_likelihood_per_point(torch.tensor(points)))
    # |x - mu|^2 / 2 <= 98 in coordinates rounded by 1010 u: 14 * 2 * sqrt(2) * 1010 u, and a sum of 31.
    tolerance = 2 * (14 * 2 * math.sqrt(2) * 1010 * U + 50 * U * 98)
    assert results["estimates"]["log_likelihood_per_point"] == pytest.approx(again, abs=tolerance)
    _, worse = own_data(tmp_path / "one", tmp_path / "d.npy", "--components", 3, "--trials", 1, steps=1)
    assert results["estimates"]["log_likelihood_per_point"] >= (
        worse["estimates"]["log_likelihood_per_point"] - tolerance
    )


BUNDLED = {"iris": (150, 4, 3), "wine": (178, 13, 3), "breast_cancer": (569, 30, 2), "digits": (1797, 64, 10)}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", list(BUNDLED))
def test_bundled_data(name, tmp_path):
    N, _, classes = BUNDLED[name]
    arguments = ("--dataset", name, "--pca", 2, "--steps", 1, "--pieces", 8)
    _, results = run(tmp_path / "out", *arguments)
    setting = results["records"][0]["setting"]
    assert (setting["samples"], setting["dim"], setting["components"]) == (N, 2, classes)
    assert f"N = {N}, d = 2, standardised" in results["data"]
    assert "2 principal components" in results["data"]
    em = results["estimates"]["em"]
    assert np.array(em["means"]).shape == (classes, 2)
    # After an M step sum_k pi_k mu_k is the average of the points, here 0, to the rounding of sums of N terms
    # of at most the radius.
    average = np.array(em["weights"]) @ np.array(em["means"])
    assert np.abs(average).max() <= 4 * gamma(N + 40, U) * setting["radius"]


@pytest.mark.usefixtures("no_figures")
def test_bundled_data_as_they_are(tmp_path):
    from sklearn.datasets import load_iris

    X = load_iris().data
    arguments = ("--dataset", "iris", "--no-standardise", "--steps", 1, "--pieces", 8)
    _, results = run(tmp_path / "out", *arguments)
    em = results["estimates"]["em"]
    assert results["data"].startswith("iris: N = 150, d = 4, as given")
    average = np.array(em["weights"]) @ np.array(em["means"])
    assert np.abs(average - X.mean(0)).max() <= 4 * gamma(200, U) * X.max()


@pytest.mark.usefixtures("no_figures")
def test_own_file_standardised(points, tmp_path):
    np.save(tmp_path / "d.npy", np.column_stack([points, np.full(31, 4.0)]))
    arguments = ("--standardise", "--components", 2)
    _, results = own_data(tmp_path / "out", tmp_path / "d.npy", *arguments, steps=1)
    assert "standardised (1 constant columns dropped)" in results["data"]
    em = results["estimates"]["em"]
    assert np.array(em["means"]).shape == (2, 2)
    # The columns have average 0 to the rounding of 1010 against a standard deviation above 1.
    assert np.abs(np.array(em["weights"]) @ np.array(em["means"])).max() <= 2 * 40 * 1010 * U


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("largest", [5.8, 0.11, 13.0, 6.6])
def test_float32_takes_data_whose_range_is_a_round_number(largest, tmp_path):
    """The radius is chosen by the command itself, so the data must be inside it after rounding to float32."""
    (tmp_path / "d.csv").write_text(f"x\n0\n{largest}\n{largest / 4}\n")
    arguments = ("--components", 1, "--dtype", "float32")
    _, results = own_data(tmp_path / "out", tmp_path / "d.csv", *arguments, steps=1)
    assert results["passed"] is True


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("text", ["1,2\n1,2\n1,2\n", "0\n0\n0\n", "1e-300\n2e-300\n0\n", "3,4\n"])
def test_points_without_spread(text, tmp_path):
    (tmp_path / "d.csv").write_text(text)
    _, results = own_data(tmp_path / "out", tmp_path / "d.csv", "--components", 1, steps=1)
    values = np.array([[float(v) for v in line.split(",")] for line in text.splitlines()])
    assert results["passed"] is True
    assert np.abs(np.array(results["estimates"]["em"]["means"])[0] - values.mean(0)).max() <= 8 * U * 4


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", ["[red]mine[blue].npy", "a [bold] b.npy", "<b>&.npy"])
def test_the_name_of_a_file_is_no_markup(name, points, tmp_path):
    np.save(tmp_path / name, points)
    outcome, results = own_data(tmp_path / "out", tmp_path / name, "--components", 1, steps=1)
    assert f"{name}, random-points" in " ".join(outcome.out.split())
    assert results["records"][0]["setting"]["name"] == name
    assert html.escape(name) in (tmp_path / "out" / "index.html").read_text()


# ---- components that die or vanish


@pytest.fixture
def line(tmp_path):
    """30 points around 0 on a line."""
    np.save(tmp_path / "line.npy", np.random.default_rng(0).normal(size=(30, 1)))
    return tmp_path / "line.npy"


@pytest.mark.usefixtures("no_figures")
def test_a_dying_component_is_named(line, tmp_path):
    start = write_start(tmp_path / "start.json", [0.5, 0.5], [[0.0], [9.0]])
    outcome, results = own_data(tmp_path / "out", line, "--init", start, steps=1)
    for r in results["records"]:
        assert r["dying_components"] == 1
        assert r["undefined_components"] == 0
        assert "dying component" in r["note"]
        assert "task 0 k=1" in r["note"]
        assert r["passed"] is True
        # It is the reason for a large error: the other component is right to the pieces, this one is not.
        assert r["one_step"]["mean_error"]["max"] > 100 * r["one_step"]["mean_error"]["min"]
    printed = " ".join(outcome.out.split())
    assert "dying component(s), W_k near N x floor: task 0 k=1" in printed
    assert "dying component" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_a_component_that_em_leaves_undefined_is_neither_kept_nor_broken(line, tmp_path):
    """exp(-60^2 / 2) is 0 in float64: no responsibility reaches the second component."""
    start = write_start(tmp_path / "start.json", [0.5, 0.5], [[0.0], [60.0]])
    outcome, results = own_data(tmp_path / "out", line, "--init", start, steps=2)
    assert results["broken"] == 0
    for r in results["records"][::2]:
        assert r["undefined_components"] == 1
        assert "EM is 0/0 for 1 component(s): task 0 k=1; not compared" in r["note"]
        # Only the other component enters the figures.
        assert r["one_step"]["mean_error"]["min"] == r["one_step"]["mean_error"]["max"]
    for r in results["records"]:
        assert r["path"]["bound_claimed_for_tasks"] == 0
        assert r["path"]["largest_mean_error"]["max"] is None
    assert "EM is 0/0" in outcome.out
    assert results["estimates"]["em"] is None
    assert results["estimates"]["why"]


# ---- data and names that figures and files must stand


def test_ten_points_at_one_place_leave_nothing_to_divide_by(tmp_path, monkeypatch):
    """Every error is 0, in both sweeps: no ratio, no slope, no point on a logarithmic axis, no warning.

    The file's name is no text, and what looks like a formula in it is none.
    """
    name = os.fsdecode(b"d\xff $x$ \\frac.csv")
    monkeypatch.setattr(em_figures, "_weights", lambda _: [])
    (tmp_path / name).write_text("x,y\n" + "1.5,2.25\n" * 10)
    arguments = ("--components", 2, "--pieces", "4,8", "--steps", 1)
    outcome, results = run(tmp_path / "out", "--data", tmp_path / name, *arguments)
    assert results["sweeps"]["equal"][0]["error"] == results["sweeps"]["optimal"][0]["error"] == 0.0
    assert results["estimates"]["em"]["means"] == [[1.5, 2.25]] * 2
    assert "every bound held" in outcome.out
    assert printable(name) in results["data"]
    assert printable(name) in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_quotients_follow_ieee_arithmetic():
    assert quotient(1.0, 2.0) == 0.5
    assert quotient(1.0, 0.0) == quotient(math.inf, 0.0) == math.inf
    assert quotient(-1.0, 0.0) == -math.inf
    assert math.isnan(quotient(0.0, 0.0))
    assert math.isnan(quotient(math.nan, 0.0))
    assert margin_of(0.0, 0.0) == margin_of(1.0, 0.0) == math.inf
    assert margin_of(3.0, 2.0) == 1.5


@pytest.mark.usefixtures("no_figures")
def test_a_point_on_the_radius_is_within_it_in_float32(tmp_path):
    """float32 rounds 0.1 up, points and radius alike."""
    (tmp_path / "d.csv").write_text("x\n0.1\n-0.1\n0.05\n")
    arguments = ("--components", 1, "--radius", 0.1, "--dtype", "float32")
    _, results = own_data(tmp_path / "out", tmp_path / "d.csv", *arguments, steps=1)
    assert results["passed"] is True
    assert {r["setting"]["radius"] for r in results["records"]} == {float(np.float32(0.1))}


@pytest.mark.usefixtures("no_figures")
def test_the_scale_of_the_data_is_judged_and_the_remedy_named(tmp_path):
    """Three groups of standard deviation 1; in other units every bound holds and says nothing."""
    rng = np.random.default_rng(0)
    points = np.array([[-5.0, 0.0], [5.0, 0.0], [0.0, 8.0]])[np.arange(60) % 3] + rng.normal(size=(60, 2))
    quick = ("--components", 3, "--steps", 3, "--pieces", 8, "--start", "k-means++")
    for factor, shown in ((1.0, None), (1e4, "1e+04"), (1e-3, "0.00")):
        np.savetxt(tmp_path / "d.csv", factor * points, delimiter=",", header="x,y")
        outcome = invoke(app, "--data", tmp_path / "d.csv", *quick, "--out", tmp_path / f"out_{factor}")
        assert outcome.code == 0
        assert outcome.out.startswith("read 60 points, 2 columns: 1, 2\n")
        warnings = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
        assert len(warnings) == (shown is not None)
        for line in warnings:
            assert "have standard deviation 1 in the units of the data" in line
            assert "--standardise" in line
            if factor == 1e4:
                found = float(line.split("which show ")[1].split(":")[0])
                assert 0.8e4 < found < 1.2e4


# ---- names of columns, labels, the fit


def test_names_and_labels_go_into_table_results_and_figure(points, tmp_path, monkeypatch):
    without_heat_maps(monkeypatch)
    kinds = np.array(["near", "far"])[np.arange(31) % 2]
    kinds[3] = ""
    table = [f"{x!r},{y!r},{kind}" for (x, y), kind in zip(points.tolist(), kinds, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["length,width,kind", *table]) + "\n")
    drawn = []
    write = report.write_results
    monkeypatch.setattr(report, "write_results", lambda *all_of: (drawn.extend(all_of[4]), write(*all_of)))
    asked = ("--label", "kind", "--covariance", "diagonal", "--start", "k-means++")
    outcome, results = own_data(tmp_path / "out", tmp_path / "d.csv", *asked, steps=2)  # K: as many as labels
    assert (
        "read 31 points, 2 columns: length, width; labels: kind, 2 different, 1 points have none"
        in outcome.out
    )
    assert results["columns"] == ["length", "width"]
    found = results["agreement"]
    assert (found["label"], found["groups"], found["compared"]) == ("kind", ["near", "far"], 30)
    assert sum(map(sum, found["counts"])) == 30
    assert found["index"] == 1.0  # the groups are 5 apart with deviation 1
    em = results["estimates"]["em"]
    lines = [line.split() for line in outcome.out.splitlines()]
    for name, values in (("length", em["means"]), ("width", em["means"])):
        column = ["length", "width"].index(name)
        assert ["mean", "of", name, *(f"{row[column]:.4g}" for row in values)] in lines
        assert [name, *(f"{row[column]:.4g}" for row in em["covariances"])] in lines
    [paths] = [picture.figure.axes[0] for picture in drawn if picture.name == "paths"]
    assert (paths.get_xlabel(), paths.get_ylabel()) == ("length", "width")
    dots = np.stack(next(line.get_data() for line in paths.lines if line.get_label() == "points"), -1)
    assert np.abs(dots - points).max() <= 4 * U * 1010  # the centre subtracted and added again
