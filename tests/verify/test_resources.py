"""``python -m verify.resources`` and its rows: targets that are reached with the fewest pieces."""

import re

import pytest
import torch
from commands import invoke, one_file_page, strict_json

import verify.resource_rows as rows
from constructions.em.pieces import relative_error, split_pieces
from constructions.em.weights import em_construction
from constructions.language.counts import count
from constructions.tensor_power.relu import tensor_power_construction
from verify.resources import app

TINY = ("--dims", "3,1", "--errors", "1e-3,1e-2", "--steps", 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("resources") / "deep" / "er"
    outcome = invoke(app, *TINY, "--out", out)
    assert outcome.code == 0, outcome.err
    return out, outcome, strict_json(out / "results.json")


def test_the_tables_are_complete(run):
    _, outcome, results = run
    assert results["command"] == "verify.resources"
    assert results["settings"] == {"dims": [1, 3], "steps": 4, "errors": [1e-2, 1e-3]}
    assert results["versions"]["torch"]
    em, covariances, relu, piecewise, exact_softmax, softmax = results["tables"].values()
    for table in (em, covariances, relu, piecewise, exact_softmax, softmax):
        assert {row["L"] for row in table} == {"4"}
        assert [row["d"] for row in table] == sorted(row["d"] for row in table) or table is softmax
        assert all(set(row) == set(rows.HEADER) for row in table)
        assert "-" not in {cell for row in table for cell in row.values()}
    assert [(row["d"], row["construction"].split(",")[0]) for row in em] == [(d, "EM") for d in "1133"]
    assert [float(row["error"]) <= e for row, e in zip(em, (1e-2, 1e-3) * 2, strict=True)] == [True] * 4
    kinds = ["spherical", "tied_spherical", "diagonal", "full", "tied"]
    assert [row["construction"].split(", ")[1] for row in covariances] == kinds * 2
    assert [row["error"] for row in relu] == ["exact", "exact", "length " + relu[2]["error"].split()[1]] * 2
    for row, error in zip(piecewise, (1e-2, 1e-3) * 2, strict=True):
        assert float(row["error"].split()[1]) <= error
    assert len(softmax) == 2 * 2 * 3
    assert [row["error"] for row in exact_softmax] == (["0.01"] * 3 + ["1.0e-03"] * 3) * 2
    for title in results["tables"]:
        assert title.split(";")[0].split(":")[0] in outcome.out
    assert [row["claim"].split(":")[0] for row in results["promises"]] == [
        *("Theorem 1", "EM with unknown covariances", "Theorem 2", "Theorem 2 with softmax"),
    ]


def test_layers_and_heads_are_as_promised(run):
    """2 L layers; 2 d heads or d + 1; 2 p d with softmax; width d^2 + 3 d + 2, and one column more."""
    _, _, results = run
    em, covariances, relu, piecewise, exact_softmax, softmax = results["tables"].values()
    for d, found in ((1, covariances[:5]), (3, covariances[5:])):
        t = em_construction(d, 1, 1, 8, covariance_type="full").newton_steps
        steps = [3, 4, 3, (t + 3) * d + 6, (t + 3) * d + 7]
        assert [row["layers"] for row in found] == [str(4 * step) for step in steps]
        assert [row["heads"] for row in found] == ["4", "4", "4", "12", "12"]
    for row in em:
        d, K = int(row["d"]), rows.EM_COMPONENTS
        assert (row["layers"], row["heads"], row["width"]) == ("8", "2", str(2 * d + 5 * K + 3))
    for pairs, offset, chords in zip(*[iter(relu)] * 3, strict=True):
        d = int(pairs["d"])
        assert (pairs["layers"], pairs["heads"]) == ("8", str(2 * d))
        assert (offset["layers"], offset["heads"]) == ("8", str(max(2, d + 1)))
        assert (chords["layers"], chords["heads"]) == ("12", str(max(2 * d, 3)))
        assert pairs["width"] == str(d * d + 3 * d + 2)
    for row in (*exact_softmax, *softmax):
        d, p = int(row["d"]), int(re.search(r"p=(\d)", row["construction"])[1])
        assert (row["layers"], row["heads"], row["width"]) == ("8", str(2 * p * d), str(d * d + 3 * d + 3))
    assert len(piecewise) == 4


def test_the_page_is_one_file_with_every_cell(run):
    out, _, results = run
    page, pictures = one_file_page(out)
    assert pictures == {"parameters"}
    for table in results["tables"].values():
        for row in table:
            assert "".join(f"<td>{cell}</td>" for cell in row.values()) in page
    assert {path.name for path in out.iterdir()} == {"results.json", "index.html", "parameters.png"}


def test_rows_are_counted():
    [row, *_] = rows.tensor_power_resources([4], 7, 16)
    found = count(tensor_power_construction(4, 7).construction)
    assert row[4:10] == [
        *(f"{found.layers:,}", f"{found.heads:,}", f"{found.width:,}", f"{found.hidden:,}"),
        *(f"{found.parameters:,}", f"{found.nonzeros:,}"),
    ]


@pytest.mark.parametrize("error", [0.3, 1e-2, 1e-4])
def test_one_piece_fewer_is_not_enough_for_the_norm(error):
    fewest = rows.fewest(lambda pieces: rows._length_error(pieces) <= error)
    assert rows._length_error(fewest) <= error < rows._length_error(fewest - 1)
    [row] = rows.piecewise_resources([2], 3, [error])
    assert row[rows.HEADER.index("error")] == f"length {rows.significant(rows._length_error(fewest))}"


@pytest.mark.parametrize(("dim", "error"), [(1, 1e-2), (3, 1e-4)])
def test_one_piece_fewer_is_not_enough_for_em(dim, error):
    place = rows.EM_FLOOR, rows.EM_RADIUS, dim

    def reached(mean):
        return relative_error(split_pieces(mean, "optimal", *place), *place) <= error

    [row] = rows.em_resources([dim], 3, [error])
    pieces = int(re.search(r"(\d+) pieces", row[0])[1])
    assert reached(pieces)
    assert not reached(pieces - 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_softmax_errors_fall_with_more_pairs(dtype):
    errors = [float(row[3]) for row in rows.softmax_resources([4], 2, [1, 2, 3], dtype)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < (1e-9 if dtype == torch.float64 else 1e-3)


def test_more_steps_take_more_layers_only(tmp_path):
    tables = []
    for steps in (1, 10**12):
        out = tmp_path / str(steps)
        assert invoke(app, *TINY, "--steps", steps, "--out", out).code == 0
        assert (out / "index.html").is_file()
        tables.append(strict_json(out / "results.json")["tables"])
    for one, many in zip(*([row for table in t.values() for row in table] for t in tables), strict=True):
        assert int(many["layers"].replace(",", "")) == 10**12 * int(one["layers"])
        assert {k: v for k, v in one.items() if k not in ("L", "layers")} == {
            k: v for k, v in many.items() if k not in ("L", "layers")
        }
