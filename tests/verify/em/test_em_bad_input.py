"""Bad input to ``python -m verify.em_construction``: one line, exit 2, nothing touched."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import invoke, snapshot
from numpy.lib import format as npy_format

from verify.em_construction import app

POINTS = np.random.default_rng(0).normal(size=(20, 2))
QUICK = ("--steps", 1, "--pieces", 4)
GRID = ("--dims", 2, "--components", 2, "--samples", 20, "--trials", 1, *QUICK)
DATA = ("--data", "good.npy", "--components", 2, *QUICK)
INIT = ("--data", "good.npy", "--init", "init.json", *QUICK)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with good data in it and a folder that an earlier run wrote."""
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", POINTS)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "results.json").write_text('{"command": "verify.em_construction"}')
    (earlier / "index.html").write_text("an earlier page")
    (earlier / "paths.png").write_bytes(b"an earlier picture")
    return tmp_path


def assert_refused(arguments, named):
    """Refused into a new folder and into one that an earlier run wrote, and nothing changed."""
    before = snapshot(Path())
    for out in ("fresh/deep", "earlier"):
        outcome = invoke(app, *arguments, "--out", out)
        lines = outcome.err.splitlines()
        assert outcome.code == 2, outcome
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        for text in named:
            assert text in lines[0]
        assert outcome.out == ""
    assert snapshot(Path()) == before


# ---- options

OPTIONS = {
    "steps 0": (("--steps", 0), ["--steps 0"]),
    "steps negative": (("--steps", -3), ["--steps -3"]),
    "steps not a number": (("--steps", "abc"), ["--steps", "abc"]),
    "steps not whole": (("--steps", "1.5"), ["--steps", "1.5"]),
    "trials 0": (("--trials", 0), ["--trials 0"]),
    "trials negative": (("--trials", -1), ["--trials -1"]),
    "pieces 0": (("--pieces", 0), ["--pieces 0", "at least 1"]),
    "pieces negative": (("--pieces", "8,-2"), ["--pieces 8,-2", "-2", "at least 1"]),
    "pieces not a number": (("--pieces", "many"), ["--pieces many"]),
    "pieces not whole": (("--pieces", "1.5"), ["--pieces 1.5"]),
    "pieces nothing": (("--pieces", ""), ["--pieces"]),
    "pieces a hole": (("--pieces", "8,,16"), ["--pieces 8,,16"]),
    "floor 0": (("--floor", 0), ["--floor 0", "between 0 and 1"]),
    "floor 1": (("--floor", 1), ["--floor 1", "between 0 and 1"]),
    "floor 2": (("--floor", 2), ["--floor 2", "between 0 and 1"]),
    "floor negative": (("--floor", -1), ["--floor -1", "between 0 and 1"]),
    "floor nan": (("--floor", "nan"), ["--floor nan", "between 0 and 1"]),
    "floor not a number": (("--floor", "low"), ["--floor", "low"]),
    "floor above the weights": (("--floor", 0.6), ["0.5", "0.6"]),
    "floor below normal numbers": (("--floor", "1e-320"), ["1e-320"]),
    "floor below normal float32": (("--floor", "1e-40", "--dtype", "float32"), ["1e-40", "float32"]),
    "radius 0": (("--radius", 0), ["radius", "0"]),
    "radius negative": (("--radius", -1), ["radius", "-1"]),
    "radius nan": (("--radius", "nan"), ["radius", "nan"]),
    "radius inf": (("--radius", "inf"), ["radius", "inf"]),
    "point outside the radius": (("--radius", 0.1), ["radius is 0.1"]),
    "dtype": (("--dtype", "float16"), ["--dtype float16", "float32, float64"]),
    "device": (("--device", "gpu"), ["--device gpu"]),
    "device without a name": (("--device", ""), ["--device"]),
    "device without values": (("--device", "meta"), ["--device meta"]),
    "device of a plug-in": (("--device", "hpu"), ["--device hpu"]),
    "start": (("--start", "best"), ["--start best", "random-points"]),
    "start, second": (("--start", "normal,best"), ["--start best"]),
    "K below 1": (("--components", 0), ["--components 0"]),
    "N < K": (("--samples", "20,1"), ["--samples 1", "--components 2", "N >= K"]),
    "d > d0": (("--max-dim", 1), ["d = 2", "--max-dim 1"]),
    "K > K0": (("--max-components", 1), ["K = 2", "--max-components 1"]),
    "d0 below 1": (("--max-dim", 0), ["--max-dim 0"]),
    "K0 below 1": (("--max-components", -4), ["--max-components -4"]),
    "seed too large": (("--seed", 2**64), ["--seed", str(2**64)]),
    "seed too small": (("--seed", -(2**63) - 1), ["--seed", str(-(2**63) - 1)]),
    "init without data": (("--init", "init.json"), ["--init", "--data"]),
    "pca without data": (("--pca", 1), ["--pca"]),
    "unknown option": (("--piece", 3), ["--piece"]),
    "an argument too many": (("surplus",), ["surplus"]),
}


@pytest.mark.parametrize("case", list(OPTIONS))
def test_options_of_the_grid(case):
    extra, named = OPTIONS[case]
    assert_refused((*GRID, *extra), named)


OWN = {
    "data and dataset": ((*DATA, "--dataset", "iris"), ["--data", "--dataset"]),
    "dims with data": ((*DATA, "--dims", 2), ["--dims"]),
    "samples with data": ((*DATA, "--samples", 20), ["--samples"]),
    "pca 0": ((*DATA, "--pca", 0), ["--pca 0", "1 to 2"]),
    "pca negative": ((*DATA, "--pca", -1), ["--pca -1", "1 to 2"]),
    "pca too large": ((*DATA, "--pca", 3), ["--pca 3", "1 to 2"]),
    "pca too large for a data set": (("--dataset", "iris", "--pca", 5), ["--pca 5", "1 to 4"]),
    "no components": (("--data", "good.npy"), ["--components is missing", "good.npy"]),
    "two numbers of components": ((*DATA, "--components", "2,3"), ["--components 2,3", "good.npy"]),
    "N < K": ((*DATA, "--components", 21), ["N = 20", "K = 21", "N >= K"]),
    "d > d0": ((*DATA, "--max-dim", 1), ["d = 2", "--max-dim 1"]),
    "K > K0": ((*DATA, "--max-components", 1), ["K = 2", "--max-components 1"]),
    "point outside the radius": ((*DATA, "--radius", 0.5), ["radius is 0.5", "2.3"]),
    "radius 0": ((*DATA, "--radius", 0), ["radius", "0"]),
    "radius nan": ((*DATA, "--radius", "nan"), ["radius", "nan"]),
    "dataset": (("--dataset", "titanic"), ["--dataset titanic", "iris, wine, breast_cancer, digits"]),
    "suffix": (("--data", "x.pdf", "--components", 1), ["x.pdf", ".csv, .tsv, .txt, .npy", ".xlsx"]),
    "no suffix": (("--data", "x", "--components", 1), ["--data x", ".csv, .tsv, .txt, .npy"]),
    "label without data": (("--label", "x"), ["--label", "--data"]),
    "drop of bundled data": (("--dataset", "iris", "--drop", "1"), ["--drop", "--data"]),
    "no such file": (("--data", "nowhere.csv", "--components", 1), ["nowhere.csv", "no such file"]),
}


@pytest.mark.parametrize("case", list(OWN))
def test_options_of_own_data(case):
    arguments, named = OWN[case]
    assert_refused(arguments, named)


def test_cuda_where_there_is_none(monkeypatch):
    """The answer of a torch without a GPU, whatever this machine has."""

    def refuse(*_, device):
        raise RuntimeError(f"No CUDA GPUs are available\nfor {device}")

    monkeypatch.setattr("torch.zeros", refuse)
    assert_refused((*DATA, "--device", "cuda"), ["--device cuda", "No CUDA GPUs are available"])


def test_a_folder_as_data(here):
    (here / "folder.csv").mkdir()
    assert_refused(("--data", "folder.csv", "--components", 1), ["folder.csv"])


# ---- files of data


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy_of_shape(shape) -> bytes:
    """A header that promises ``shape``, and no numbers."""
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npz_of_text() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("X", "not an array")
    return buffer.getvalue()


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - b for b in content[middle : middle + 8]) + content[middle + 8 :]


WITH_NAN, WITH_INF = POINTS.copy(), POINTS.copy()
WITH_NAN[4, 1], WITH_INF[7, 0] = np.nan, -np.inf

FILES = {
    "csv empty": ("d.csv", b"", ["empty"]),
    "csv of blank lines": ("d.csv", b" \n\n", ["empty"]),
    "csv header only": ("d.csv", b"length,width\n", ["length,width"]),
    "csv one column of text": ("d.csv", b"name\nalice\nbob\n", ["row 1", "alice"]),
    "csv one line of text": ("d.csv", b"alice", ["alice"]),
    "csv text in a row": ("d.csv", b"1,2\n3,4\n5,six\n", ["row 3", "column 2", "six"]),
    "csv text in the first row": ("d.csv", b"1,2.O\n3,4\n5,6\n7,8\n", ["2.O"]),
    "csv hole in the first row": ("d.csv", b"1,\n3,4\n5,6\n7,8\n", ["row 1", "column 2"]),
    "csv hole": ("d.csv", b"1,2\n3,\n", ["row 2", "column 2"]),
    "csv ragged, short": ("d.csv", b"a,b\n1,2\n3,4\n5\n", ["row 3", "1 columns", "2"]),
    "csv ragged, long": ("d.csv", b"1,2\n3,4,5\n", ["row 2", "3 columns", "2"]),
    "csv NaN": ("d.csv", b"1,2\n3,nan\n", ["row 2", "column 2", "nan"]),
    "csv inf": ("d.csv", b"x,y\n1,2\n-inf,4\n", ["row 2", "column 1", "-inf"]),
    "csv too large for float64": ("d.csv", b"1,2\n3,1e999\n", ["row 2", "column 2", "inf"]),
    "csv squares too large": ("d.csv", b"1e200,2\n2,3\n1,2\n", ["e+307"]),
    "csv not UTF-8": ("d.csv", b"\xe9,b\n1,2\n", ["d.csv"]),
    "csv decimal comma": ("d.csv", b"1,5;2,5\n3,5;4,5\n", ["d.csv"]),
    "csv one endless cell": ("d.csv", b"a" * 200_000 + b"\n1\n", ["d.csv"]),
    "npy NaN": ("d.npy", npy(WITH_NAN), ["row 5", "column 2", "nan"]),
    "npy inf": ("d.npy", npy(WITH_INF), ["row 8", "column 1", "-inf"]),
    "npy without bytes": ("d.npy", b"", ["d.npy"]),
    "npy of no rows": ("d.npy", npy(np.zeros((0, 3))), ["d.npy", "no numbers"]),
    "npy of no values": ("d.npy", npy(np.zeros(0)), ["d.npy", "no numbers"]),
    "npy of no columns": ("d.npy", npy(np.zeros((3, 0))), ["d.npy", "no numbers"]),
    "npy of no dimensions": ("d.npy", npy(np.array(3.0)), ["()"]),
    "npy of three dimensions": ("d.npy", npy(np.zeros((2, 2, 2))), ["(2, 2, 2)"]),
    "npy of text": ("d.npy", npy(np.array([["a", "b"]])), ["d.npy"]),
    "npy of dates": ("d.npy", npy(np.array(["2020-01-01"], "M8[D]")), ["d.npy"]),
    "npy of complex numbers": ("d.npy", npy(POINTS + 1j), ["complex"]),
    "npy cut short": ("d.npy", npy(POINTS)[:150], ["d.npy"]),
    "npy cut in its header": ("d.npy", npy(POINTS)[:40], ["d.npy"]),
    "npy that promises too much": ("d.npy", npy_of_shape((10**13, 2)), ["d.npy"]),
    "npz NaN": ("d.npz", npz(X=WITH_NAN), ["row 5", "column 2", "nan"]),
    "npz not a zip": ("d.npz", b"plain words", ["d.npz"]),
    "npz that only starts like one": ("d.npz", b"PK\x03\x04 and plain words", ["d.npz"]),
    "npz damaged": ("d.npz", damaged(npz(X=POINTS)), ["d.npz"]),
    "npz cut short": ("d.npz", npz(X=POINTS)[:-60], ["d.npz"]),
    "npz of two arrays": ("d.npz", npz(a=POINTS, b=POINTS), ["a", "b", "X"]),
    "npz of no array": ("d.npz", npz(), ["[]"]),
    "npz of text": ("d.npz", npz_of_text(), ["d.npz"]),
}


def test_a_column_whose_range_overflows():
    """Divided by infinity it would silently become zeros."""
    Path("d.csv").write_text("1.5e308,1\n-1.5e308,2\n5e199,4\n")
    assert_refused(("--data", "d.csv", "--components", 1, "--standardise", *QUICK), ["d.csv"])


@pytest.mark.parametrize("case", list(FILES))
def test_files(case):
    name, content, named = FILES[case]
    Path(name).write_bytes(content)
    assert_refused(("--data", name, "--components", 1, *QUICK), named)


class Planted:
    """Unpickling one of these leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("form", ["npy", "npz", "plain pickle"])
def test_nothing_is_unpickled(form):
    objects = np.array([Planted()], dtype=object)
    name = "d.npz" if form == "npz" else "d.npy"
    with Path(name).open("wb") as file:
        if form == "npy":
            np.save(file, objects, allow_pickle=True)
        elif form == "npz":
            np.savez(file, allow_pickle=True, X=objects)
        else:
            pickle.dump(Planted(), file)
    assert_refused(("--data", name, "--components", 1, *QUICK), [name])
    assert not Path("unpickled").exists()
    pickle.loads(pickle.dumps(Planted()))  # noqa: S301  the trap works
    assert Path("unpickled").exists()


# ---- the start

HALVES, TWO = [0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]]
STARTS = {
    "not JSON": ("hello", ["init.json"]),
    "nothing": ("", ["init.json"]),
    "a list": ([1, 2], ["init.json", "weights", "means"]),
    "no means": ({"weights": HALVES}, ["init.json", "means"]),
    "results without an estimate": ({"estimates": {"em": None}}, ["init.json"]),
    "results of a grid": ({"estimates": None}, ["init.json"]),
    "brackets without end": ("[" * 100_000, ["init.json"]),
    "sum above 1": ({"weights": [0.5, 0.6], "means": TWO}, ["1.1"]),
    "sum below 1": ({"weights": [0.5, 0.4999], "means": TWO}, ["0.9999"]),
    "negative weight": ({"weights": [-0.5, 1.5], "means": TWO}, ["-0.5"]),
    "zero weight": ({"weights": [0.0, 1.0], "means": TWO}, ["0"]),
    "weight below the floor": ({"weights": [1e-9, 1 - 1e-9], "means": TWO}, ["1e-09", "1e-08"]),
    "NaN weight": ({"weights": [np.nan, 1.0], "means": TWO}, ["nan"]),
    "NaN mean": ({"weights": HALVES, "means": [[0.0, 0.0], [np.nan, 1.0]]}, ["nan"]),
    "infinite mean": ({"weights": HALVES, "means": [[0.0, 0.0], [np.inf, 1.0]]}, ["inf"]),
    "mean whose square overflows": ({"weights": HALVES, "means": [[0.0, 0.0], [1e200, 0.0]]}, ["e+200"]),
    "mean too large for float64": ({"weights": HALVES, "means": [[10**400, 0], [1, 1]]}, ["init.json"]),
    "text": ({"weights": ["0.5", "0.5"], "means": TWO}, ["init.json"]),
    "nulls": ({"weights": [None, 1], "means": TWO}, ["init.json"]),
    "objects": ({"weights": [{}, {}], "means": TWO}, ["init.json"]),
    "ragged means": ({"weights": HALVES, "means": [[0.0, 0.0], [1.0]]}, ["init.json"]),
    "three dimensions": ({"weights": HALVES, "means": [TWO]}, ["(1, 2, 2)", "(K, d)"]),
    "fewer means than weights": ({"weights": HALVES, "means": TWO[:1]}, ["(2,)", "(1, 2)"]),
    "nothing in the lists": ({"weights": [], "means": []}, ["(0,)"]),
    "other coordinates than the data": ({"weights": HALVES, "means": [[0.0], [1.0]]}, ["1 coord", "2"]),
    "more components than points": (
        {"weights": [1 / 32] * 32, "means": [[k / 8, 0.0] for k in range(32)]},
        ["N = 20", "K = 32"],
    ),
}


@pytest.mark.parametrize("case", list(STARTS))
def test_starts(case):
    content, named = STARTS[case]
    Path("init.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert_refused(INIT, named)


def test_start_that_is_not_there():
    assert_refused(INIT, ["init.json"])


def test_start_and_another_number_of_components():
    Path("init.json").write_text(json.dumps({"weights": HALVES, "means": TWO}))
    assert_refused((*INIT, "--components", 3), ["--components", "3", "2"])


def test_start_outside_the_radius():
    Path("init.json").write_text(json.dumps({"weights": HALVES, "means": [[0.0, 0.0], [50.0, 0.0]]}))
    assert_refused((*INIT, "--radius", 9), ["50", "radius is 9"])


# ---- where to write


def assert_out_refused(out, named):
    before = snapshot(Path())
    outcome = invoke(app, *DATA, "--out", out)
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith(f"error: --out {out}")
    for text in named:
        assert text in outcome.err
    assert outcome.out == ""
    assert snapshot(Path()) == before


@pytest.mark.parametrize("out", ["good.npy", "good.npy/below", "good.npy/far/below"])
def test_a_file_where_the_folder_should_be(out):
    assert_out_refused(out, ["cannot be written"])


def test_a_place_where_nothing_can_be_made():
    """/proc refuses even root."""
    outcome = invoke(app, *DATA, "--out", "/proc/results")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --out /proc/results")
    assert len(outcome.err.splitlines()) == 1


def test_a_name_that_is_too_long():
    assert_out_refused("n" * 300, ["cannot be written"])


FOREIGN = {
    "results.json": '{"command": "someone else"}',
    "results.json not JSON": "{",
    "results.json of a list": "[]",
    "results.json without a command": '{"passed": true}',
    "index.html": "<p>my home page",
    "paths.png": "my own picture",
    "weights_layer_1.png": "my own picture",
}


@pytest.mark.parametrize("case", list(FOREIGN))
def test_files_of_others_are_kept(case):
    name = case.split()[0]
    Path("theirs").mkdir()
    (Path("theirs") / name).write_text(FOREIGN[case])
    assert_out_refused("theirs", [name])


def test_a_folder_with_the_name_of_a_file():
    (Path("theirs") / "results.json").mkdir(parents=True)
    assert_out_refused("theirs", ["results.json"])


def test_a_folder_with_the_name_of_a_picture():
    (Path("theirs") / "paths.png").mkdir(parents=True)
    assert_out_refused("theirs", ["paths.png"])


@pytest.mark.usefixtures("no_figures")
def test_a_picture_of_another_name_is_nobodys_business():
    Path("shared").mkdir()
    (Path("shared") / "holiday.png").write_text("my own picture")
    outcome = invoke(app, *DATA, "--out", "shared")
    assert outcome.code == 0
    assert (Path("shared") / "holiday.png").read_text() == "my own picture"
