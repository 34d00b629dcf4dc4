"""Bad input to the two tensor power checks and to the resource tables: one line, exit 2, nothing touched."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from commands import invoke, snapshot
from numpy.lib import format as npy_format

import verify.tensor.data as tensor_data
import verify.tensor.relu_command as relu
import verify.tensor.relu_figures as relu_figures
import verify.tensor.softmax_figures as softmax_figures
from verify import resource_report, resources, softmax_tensor_power, tensor_power

T = np.random.default_rng(0).normal(size=(3, 3, 3))
V = np.array([0.6, -0.5, 0.9])
COMMANDS = {"relu": tensor_power, "softmax": softmax_tensor_power, "resources": resources}
NAMES = {"relu": relu_figures.NAMES, "softmax": softmax_figures.NAMES, "resources": resource_report.NAMES}
QUICK = {"relu": ("--steps", 2, "--pieces", 16), "softmax": ("--steps", 2, "--pairs", 1), "resources": ()}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with a good tensor and start, and each command's folder of an earlier run."""
    monkeypatch.chdir(tmp_path)
    np.save("T.npy", T)
    np.save("v.npy", V)
    for name, command in COMMANDS.items():
        earlier = tmp_path / f"earlier {name}"
        earlier.mkdir()
        (earlier / "results.json").write_text(f'{{"command": "{command.__name__}"}}')
        (earlier / "index.html").write_text("an earlier page")
        (earlier / "paths.png").write_bytes(b"an earlier picture")
    monkeypatch.setattr(relu, "check_rational", lambda seed, instances: [])
    monkeypatch.setattr(relu, "check_symbolic", lambda seed, instances: [])
    monkeypatch.setattr(relu_figures, "pictures", lambda *_: [])
    monkeypatch.setattr(softmax_figures, "pictures", lambda *_: [])
    return tmp_path


def assert_refused(name, arguments, named, at_once=True):
    """Refused into a new folder and into one that an earlier run wrote, and nothing changed.

    What is only found while measuring comes after the bar that shows the progress.
    """
    before = snapshot(Path())
    given = {str(argument) for argument in arguments}
    quick = zip(QUICK[name][::2], QUICK[name][1::2], strict=True)
    extra = [x for option, value in quick if option not in given for x in (option, value)]
    for out in ("fresh/deep", f"earlier {name}"):
        outcome = invoke(COMMANDS[name].app, *arguments, *extra, "--out", out)
        lines = outcome.err.splitlines()
        assert outcome.code == 2, outcome
        if at_once:
            assert len(lines) == 1, lines
        assert sum(line.startswith("error: ") for line in lines) == 1
        assert lines[-1].startswith("error: ")
        # A folder of another run is refused before anything is measured.
        for text in named if at_once or out == "fresh/deep" else ["does not say its settings"]:
            assert text in lines[-1]
        assert outcome.out == ""
    assert snapshot(Path()) == before


# ---- options of both tensor checks

GRID = ("--dims", "2", "--trials", 2)
OWN = ("--tensor", "T.npy")
SHARED = {
    "steps 0": ((*GRID, "--steps", 0), ["--steps 0", "at least 1"]),
    "steps negative": ((*GRID, "--steps", -3), ["--steps -3"]),
    "steps not whole": ((*GRID, "--steps", "1.5"), ["--steps", "1.5"]),
    "trials 0": ((*GRID, "--trials", 0), ["--trials 0"]),
    "trials beyond memory": ((*GRID, "--trials", 10**12), ["1000000000000", "at most 16777216"]),
    "trials beyond everything": ((*GRID, "--trials", 10**30), ["at most 16777216"]),
    "dims nothing": (("--dims", ""), ["--dims"]),
    "dims a hole": (("--dims", "2,,3"), ["--dims 2,,3"]),
    "dims text": (("--dims", "2,x"), ["--dims 2,x"]),
    "dims 0": (("--dims", "2,0"), ["--dims 2,0", "at least 1"]),
    "dims beyond memory": (("--dims", "2,5000"), ["d = 5000", "at most d = 90"]),
    "dims beyond everything": (("--dims", 10**400), ["at most d = 90"]),
    "max-dim below d": ((*GRID, "--max-dim", 1), ["d = 2", "--max-dim 1"]),
    "max-dim below d of a tensor": ((*OWN, "--max-dim", 2), ["d = 3", "--max-dim 2"]),
    "max-dim 0": ((*GRID, "--max-dim", 0), ["--max-dim 0"]),
    "max-dim beyond memory": ((*GRID, "--max-dim", 91), ["d = 91", "at most d = 90"]),
    "dtype": ((*GRID, "--dtype", "float16"), ["--dtype float16", "float32, float64"]),
    "device": ((*GRID, "--device", "gpu"), ["--device gpu"]),
    "device without values": ((*GRID, "--device", "meta"), ["--device meta"]),
    "seed negative": ((*GRID, "--seed", -1), ["--seed -1"]),
    "seed too large": ((*GRID, "--seed", 2**64), ["--seed", str(2**64)]),
    "start without tensor": (("--start", "v.npy"), ["--start v.npy", "--tensor"]),
    "dims with tensor": ((*OWN, "--dims", 3), ["--dims", "--tensor"]),
    "trials with start": ((*OWN, "--start", "v.npy", "--trials", 2), ["--trials 2", "--start"]),
    "unknown option": ((*GRID, "--tensors", "T.npy"), ["--tensors"]),
    "an argument too many": (("T.npy",), ["T.npy"]),
    "no such file": (("--tensor", "no.npy"), ["--tensor no.npy", "no such file"]),
    "no such start": ((*OWN, "--start", "no.npy"), ["--start no.npy", "no such file"]),
    "suffix": (("--tensor", "T.txt"), ["T.txt", ".npy"]),
    "a folder": (("--tensor", "."), ["--tensor .", ".npy"]),
    "a name too long": (("--tensor", "a" * 300 + ".npy"), ["too long"]),
}


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("case", list(SHARED))
def test_shared_options(case, name):
    arguments, named = SHARED[case]
    assert_refused(name, arguments, named)


ALONE = {
    "pieces 0": ("relu", ("--pieces", 0), ["--pieces 0", "at least 1"]),
    "pieces beyond memory": ("relu", ("--pieces", 10**13), ["--pieces 10000000000000", "at most 1000000"]),
    "instances 10": ("relu", ("--instances", 10), ["--instances 10", "at least 1000"]),
    "instances 999": ("relu", ("--instances", 999), ["--instances 999"]),
    "instances text": ("relu", ("--instances", "all"), ["--instances", "all"]),
    "pairs 0": ("softmax", ("--pairs", 0), ["--pairs 0", "at least 1"]),
    "pairs 9": ("softmax", ("--pairs", "2,9"), ["--pairs 2,9", "at most 8"]),
    "pairs x": ("softmax", ("--pairs", "x"), ["--pairs x"]),
    "pairs nothing": ("softmax", ("--pairs", ""), ["--pairs"]),
    "pairs beyond memory": ("softmax", ("--dims", 80, "--pairs", 8), ["d = 80", "at most d = 53"]),
    **{
        f"epsilon {value}": ("softmax", ("--epsilon", value), [f"--epsilon {value}", "(0, 1]"])
        for value in ("0", "-1", "2", "nan", "inf")
    },
    "epsilon text": ("softmax", ("--epsilon", "small"), ["--epsilon", "small"]),
    "epsilon too small": ("softmax", ("--epsilon", "1e-300"), ["--epsilon 1e-300", "c = 36", "float64"]),
    "epsilon too small for float32": (
        "softmax",
        ("--epsilon", "1e-35", "--dtype", "float32"),
        ["--epsilon 1e-35", "c = 15.75", "float32"],
    ),
    "sink too high for float32": (
        "softmax",
        ("--sink", 60, "--epsilon", "1e-20", "--dtype", "float32"),
        ["--epsilon 1e-20", "c = 60", "float32", "43.36"],
    ),
    **{
        f"sink {value}": ("softmax", ("--sink", value), [f"--sink {value}", "between 1 and 60"])
        for value in ("0", "0.5", "100", "-3", "nan", "inf")
    },
    "dims too large": ("resources", ("--dims", "2,513"), ["513", "at most 512"]),
    "dims nothing": ("resources", ("--dims", ""), ["--dims"]),
    "dims 0": ("resources", ("--dims", "0"), ["--dims 0"]),
    "steps 0": ("resources", ("--steps", 0), ["--steps 0"]),
    "steps text": ("resources", ("--steps", "ten"), ["--steps", "ten"]),
    **{
        f"errors {value}": ("resources", ("--errors", value), [f"--errors {value}"])
        for value in ("nan", "0", "1", "2", "-1", "inf", "1e-10", "x", "", "1e-2,", "1e-2;1e-3")
    },
    "seed": ("resources", ("--seed", 1), ["--seed"]),
}


@pytest.mark.parametrize("case", list(ALONE))
def test_options_of_one_command(case):
    name, arguments, named = ALONE[case]
    assert_refused(name, arguments, named)


@pytest.mark.parametrize("name", ["relu", "softmax"])
def test_cuda_where_there_is_none(name, monkeypatch):
    def refuse(*_, device):
        raise RuntimeError(f"No CUDA GPUs are available\nfor {device}")

    monkeypatch.setattr("torch.zeros", refuse)
    assert_refused(name, (*GRID, "--device", "cuda"), ["--device cuda", "No CUDA GPUs are available"])


# ---- files


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    content = text.encode()
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


def of_shape(shape) -> bytes:
    """A header that promises ``shape``, and no numbers."""
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def with_value(array, value):
    changed = array.copy()
    changed[(1,) * array.ndim] = value
    return changed


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, T=T)
    return buffer.getvalue()


NO_ARRAY = {
    "text": (b"plain words", []),
    "nothing": (b"", []),
    "cut short": (npy(T)[:200], []),
    "cut in its header": (npy(T)[:40], []),
    "only begins like a zip": (b"PK\x03\x04 and plain words", []),
    "a zip of arrays": (npz(), ["NpzFile"]),
    "a header without end": (header("{'descr': ("), []),
    "brackets without end": (header("[" * 3000), []),
    "a header too deep": (header("-" * 9000), []),
    "a shape too large": (of_shape((10**5, 10**5, 10**5)), []),
    "a shape beyond 64 bits": (
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70},), }}"),
        [],
    ),
    "complex": (npy(T + 0j), ["complex128", "real"]),
    "strings": (npy(np.array([[["1"]]])), ["<U1"]),
    "truth values": (npy(T > 0), ["bool"]),
    "dates": (npy(np.zeros((1, 1, 1), "M8[D]")), ["datetime64"]),
    "records": (npy(np.zeros((1, 1, 1), [("a", "f8")])), ["real"]),
}
NO_TENSOR = {
    "not cubic": (npy(T[:2]), ["(2, 3, 3)", "(d, d, d)"]),
    "2-d": (npy(T[0]), ["(3, 3)"]),
    "4-d": (npy(T[None]), ["(1, 3, 3, 3)"]),
    "a number": (npy(np.float64(3)), ["()"]),
    "empty": (npy(np.zeros((0, 0, 0))), ["(0, 0, 0)"]),
    "NaN": (npy(with_value(T, np.nan)), ["[1, 1, 1]", "nan"]),
    "inf": (npy(with_value(T, -np.inf)), ["[1, 1, 1]", "-inf"]),
    "too large for float64": (npy(np.full((1, 1, 1), np.longdouble("1e4000"))), ["inf"]),
    "zeros": (npy(np.zeros((2, 2, 2))), ["is 0"]),
    "subnormal": (npy(T * 1e-310), ["scale it"]),
}
NO_START = {
    "of another length": (npy(np.ones(4)), ["(4,)", "(3,)", "(B, 3)"]),
    "of a cube": (npy(T), ["(3, 3, 3)"]),
    "a number": (npy(np.float64(3)), ["()"]),
    "no rows": (npy(np.zeros((0, 3))), ["(0, 3)"]),
    "zero": (npy(np.zeros(3)), ["zero"]),
    "one of them zero": (npy(np.stack([V, 0 * V])), ["zero"]),
    "NaN": (npy(np.array([1, np.nan, 0])), ["[0, 1]", "nan"]),
    "NaN in a row": (npy(np.stack([V, with_value(V, np.nan)])), ["[1, 1]", "nan"]),
    "far too long": (npy(V * 1e200), ["vector 0", "9e+199", "0.0001 and 10000"]),
    "far too short": (npy(np.stack([V, V * 1e-200])), ["vector 1", "9e-201"]),
    "a little too long": (npy(np.array([1e4 + 1, 0, 0])), ["vector 0", "0.0001 and 10000"]),
}


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("case", list(NO_ARRAY | NO_TENSOR))
def test_files_that_are_no_tensor(case, name):
    content, named = (NO_ARRAY | NO_TENSOR)[case]
    Path("x.npy").write_bytes(content)
    assert_refused(name, ("--tensor", "x.npy"), ["x.npy", *named])


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("case", list(NO_ARRAY | NO_START))
def test_files_that_are_no_start(case, name):
    content, named = (NO_ARRAY | NO_START)[case]
    Path("x.npy").write_bytes(content)
    assert_refused(name, (*OWN, "--start", "x.npy"), ["--start x.npy", *named])


class Planted:
    """Unpickling one of these leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("option", ["--tensor", "--start"])
@pytest.mark.parametrize("form", ["objects", "plain pickle"])
def test_nothing_is_unpickled(form, option):
    with Path("x.npy").open("wb") as file:
        if form == "objects":
            np.save(file, np.full((1, 1, 1), Planted(), dtype=object), allow_pickle=True)
        else:
            pickle.dump(Planted(), file)
    arguments = ("--tensor", "x.npy") if option == "--tensor" else (*OWN, "--start", "x.npy")
    assert_refused("relu", arguments, [f"{option} x.npy"])
    assert not Path("unpickled").exists()
    pickle.loads(pickle.dumps(Planted()))  # noqa: S301  the trap works
    assert Path("unpickled").exists()


def test_a_file_that_cannot_be_read(monkeypatch):
    """Whoever runs this, root too."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tensor_data.np, "load", refuse)
    assert_refused("relu", OWN, ["--tensor T.npy", "Permission denied"])


# ---- numbers that leave a range


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("scale", [1e40, 1e-50])
def test_a_tensor_beyond_float32(name, scale):
    np.save("x.npy", T * scale)
    assert_refused(name, ("--tensor", "x.npy", "--dtype", "float32"), ["x.npy", "float32", "scale it"])


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("steps", [3, 5])
def test_a_tensor_that_ends_in_zero(name, steps):
    """e3 goes to e2, e2 to e1, and e1 to 0: the third step has no direction."""
    nilpotent = np.zeros((3, 3, 3))
    nilpotent[0, 1, 1] = nilpotent[1, 2, 2] = 1
    np.save("n.npy", nilpotent)
    np.save("e3.npy", [0.0, 0.0, 1.0])
    arguments = ("--tensor", "n.npy", "--start", "e3.npy", "--steps", steps)
    assert_refused(name, arguments, ["--tensor n.npy", "step 3", "T(I, v, v)"])
    outcome = invoke(COMMANDS[name].app, *arguments[:4], *QUICK[name], "--out", "two")
    assert outcome.code == 0, outcome


@pytest.mark.parametrize("name", ["relu", "softmax"])
@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_a_tensor_whose_squares_leave_float64(name, scale):
    """Only found by the layers; the folder made for the results is gone again."""
    np.save("x.npy", T * scale)
    assert_refused(name, ("--tensor", "x.npy"), ["T(I, v, v)", "float64"], at_once=False)


@pytest.mark.parametrize("pieces", [1, 3])
def test_too_few_pieces(pieces):
    np.save("B.npy", np.random.default_rng(0).normal(size=(40, 3)))
    arguments = ("--tensor", "T.npy", "--start", "B.npy", "--pieces", pieces)
    assert_refused("relu", arguments, [f"--pieces {pieces}", "take more"], at_once=False)
    assert_refused("relu", (*GRID, "--pieces", pieces), [f"--pieces {pieces}", "take more"], at_once=False)


def test_an_epsilon_too_large_for_the_starts():
    np.save("long.npy", V * 100)
    arguments = (*OWN, "--start", "long.npy", "--epsilon", 0.5)
    assert_refused("softmax", arguments, ["--epsilon 0.5", "4.05e+03", "at most 20"])


# ---- where to write


def files_of(name) -> dict[str, bytes]:
    return {
        "results.json": b'{"command": "verify"}',
        "index.html": b"a page",
        f"{NAMES[name][0]}.png": b"a picture",
    }


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("index", range(3))
def test_files_of_others_are_kept(name, index):
    file, content = list(files_of(name).items())[index]
    Path("others").mkdir()
    (Path("others") / file).write_bytes(content)
    before = snapshot(Path())
    arguments = () if name == "resources" else GRID
    outcome = invoke(COMMANDS[name].app, *arguments, *QUICK[name], "--out", "others")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert f"holds {file}, which {COMMANDS[name].__name__} did not write" in line
    assert snapshot(Path()) == before


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("out", ["T.npy", "T.npy/below", "a" * 300, "/proc/none/such"])
def test_folders_that_cannot_be(name, out):
    before = snapshot(Path())
    arguments = () if name == "resources" else GRID
    outcome = invoke(COMMANDS[name].app, *arguments, *QUICK[name], "--out", out)
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert line.startswith(f"error: --out {out}")
    assert snapshot(Path()) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_folder_without_permission(name):
    Path("locked").mkdir(mode=0o555)
    outcome = invoke(COMMANDS[name].app, *QUICK[name], "--out", "locked/out")
    assert outcome.code == 2
    assert "--out locked/out: cannot be written" in outcome.err


def test_an_empty_folder_that_was_there_stays():
    """Only what the refused run made goes again."""
    Path("mine").mkdir()
    np.save("x.npy", T * 1e-300)
    outcome = invoke(tensor_power.app, "--tensor", "x.npy", *QUICK["relu"], "--out", "mine/new/er")
    assert outcome.code == 2
    assert Path("mine").is_dir()
    assert list(Path("mine").iterdir()) == []
