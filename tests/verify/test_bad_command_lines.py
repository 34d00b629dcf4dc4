"""Bad command lines of every command: one line that names option and value, exit 2, nothing made or changed.

A table: command, words, what the line must name. Each runs in a folder with good files and with the folder
``earlier`` that the command wrote before.
"""

import importlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import invoke, snapshot

FULL = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]]}
FILES = {
    "good.csv": "x,y\n1.5,2.5\n-1.25,0.5\n0.75,2.25\n3.5,-1.5\n2.25,1.75\n0.5,0.25\n",
    "numbered.csv": "0,1\n1.5,2.5\n0.25,3.5\n",
    "constant.csv": "x,y\n1.5,2.5\n1.5,2.5\n",
    "title.csv": "points of the day\nx,y\n1.5,2.5\n",
    "empty.csv": "# nothing\n",
    "words.csv": "x,kind\n1.5,round\n2.5,square\n",
    "init.json": json.dumps({"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]]}),
    "three.json": json.dumps({"weights": [0.5, 0.5], "means": [[0.0], [1.0]]}),
    "heavy.json": json.dumps({"weights": [0.5, 0.75], "means": [[0.0, 0.0], [1.0, 1.0]]}),
    "thin.csv": "1,2,3\n4,5,7\n7,8,8\n",
    "level.csv": "1,2\n3,2\n5,2\n4,2\n",
    "sums.csv": "1,2,3\n3,5,8\n5,1,6\n4,4,8\n7,1,8\n",
    "full.json": json.dumps(FULL | {"covariances": [[[1.0, 0.5], [0.5, 1.0]]] * 2}),
    "skew.json": json.dumps(FULL | {"covariances": [[[1.0, 0.5], [0.25, 1.0]]] * 2}),
    "narrow.json": json.dumps(FULL | {"covariances": [[[1.0, 2.0], [2.0, 1.0]]] * 2}),
    "far.json": json.dumps({"weights": [0.5, 0.5], "means": [[0.0, 0.0], [40.0, 1.0]]}),
    "broken.toml": "[training\n",
    "strange.toml": "[training]\nsteps = 'many'\n",
}
ARRAYS = {
    "points.npy": np.arange(12.0).reshape(6, 2) ** 1.5,
    "T.npy": np.arange(8.0).reshape(2, 2, 2),
    "v.npy": np.array([0.6, 0.8]),
    "zero.npy": np.zeros(2),
    "flat.npy": np.ones((2, 3)),
    "nan.npy": np.full((2, 2, 2), np.nan),
    "skew.npy": np.array([[[0.0, 1.0], [-1.0, 0.0]], [[0.0, 2.0], [-2.0, 0.0]]]),
    "one.npy": np.ones((1, 1, 1)),
    "long.npy": np.array([1e4]),
}
OWN, GRID = "--data good.csv --components 2", "--dims 2 --components 2 --samples 9 --trials 1"
EM, RELU, SOFTMAX = "verify.em_construction", "verify.tensor_power", "verify.softmax_tensor_power"
SPECTRAL = "verify.spectral_construction"
RESOURCES, LEDGER, LEVELS = "verify.resources", "verify.__main__", "verify.reference_levels"
TRAIN, EVALUATE, COMPARE = "training.train", "training.evaluate", "training.compare"
CURVES, REAL_DATA, RELEASE = "training.curves", "training.real_data", "training.release"
THROUGHPUT, BENCHMARK = "training.throughput", "training.benchmark"
CLUSTERING = "training.clustering"

LINES = {
    BENCHMARK: {
        "pfn": "no prior 'pfn'|set-transformer",
        "paper-d2 --sets 1": "--sets|1",
        "paper-d2 --model nowhere": "nowhere|no such file",
        "paper-d2 --model d8": "--model d8|paper-d2",
    },
    CLUSTERING: {
        "--data iris,moon": "--data iris,moon|'moon'|moons",
        "--methods kmeans": "--methods kmeans|k-means",
        "--data ''": "--data|unit-d2",
        "--repeats 0": "--repeats|0",
        "--repeats few": "--repeats|few",
        "--starts 0": "--starts|0",
        "--seed -1": "--seed -1",
    },
    SPECTRAL: {
        "--data good.csv": "--components is missing|good.csv",
        "--data good.csv --components 3": "--components 3|d = 2|TOO_MANY_COMPONENTS",
        "--data good.csv --components 2 --variance 1000": "good.csv|RANK_DEFICIENT",
        "--data good.csv --dataset iris": "--data|--dataset",
        "--data good.csv --components 2 --dims 2": "--dims, --samples",
        "--dims 2 --components 3": "--components 3|--dims 2",
        "--read-in cubes": "--read-in cubes|products or squares",
        "--variance none": "--variance none|estimated",
        "--variance -1": "--variance -1|above 0",
        "--rounds 0": "--rounds 0",
        "--starts 0": "--starts 0",
        "--pieces 0": "pieces|0",
        "--dims 64 --samples 100000 --trials 100": "--dims 64|--samples 100000",
        "--standardise": "--standardise",
        "--header": "--header|--data",
        "--evaluation sparse": "--evaluation sparse",
    },
    EM: {
        "--data good.csv": "--components is missing|good.csv",
        "--data good.csv --components 2,3": "--components 2,3",
        "--data good.csv --components two": "--components two",
        "--data good.csv --components 7": "N = 6|K = 7",
        f"{OWN} --columns z": "--columns z|x, y",
        f"{OWN} --columns x,1": "--columns x,1|twice",
        f"{OWN} --columns ''": "--columns",
        f"{OWN} --columns 1-3": "--columns 1-3|1 to 2",
        "--data words.csv --components 1": "words.csv|'round'|--drop kind|--label kind",
        "--data title.csv --components 1": "title.csv|line 2",
        "--data numbered.csv --components 1": "numbered.csv|'0,1'|--header|--no-header",
        "--data good.csv --components 1 --no-header": "good.csv|'x'",
        "--data points.npy --components 1 --header": "--header|points.npy",
        "--data constant.csv --components 1 --standardise": "constant.csv|--no-standardise",
        "--data empty.csv --components 1": "empty.csv",
        "--data . --components 1": "--data .",
        "--columns x": "--columns|--data",
        "--header": "--header|--data",
        "--dataset iris --columns 1": "--columns|--data",
        "--dataset Iris": "--dataset Iris|iris",
        "--dataset ''": "--dataset",
        "--no-standardise": "--standardise",
        f"{OWN} --pca 1.5": "--pca|1.5",
        f"{OWN} --init init.json --start normal": "--init|--start",
        f"{OWN} --init init.json --trials 2": "--init|--trials",
        f"{OWN} --init T.npy": "--init T.npy",
        "--data good.csv --init three.json": "--init three.json|1 coordinates",
        "--data good.csv --init heavy.json": "--init heavy.json|1.25",
        "--data good.csv --init far.json --radius 9": "--radius 9|40",
        f"{OWN} --radius 1.5": "--radius 1.5|3.5",
        f"{OWN} --floor 0.6": "--floor 0.6|0.5",
        f"{OWN} --trials 1000000000000": "--trials 1000000000000|would fit",
        f"{OWN} --pieces 100000000000": "--pieces 100000000000|would fit",
        f"{OWN} --max-dim 100000000": "--pieces 2048",
        f"{GRID} --pieces 10,99999999999999": "--pieces 99999999999999|would fit",
        f"{GRID} --steps 10000000000000": "--steps 10000000000000|would fit",
        "--dims 2 --components 2 --samples 100000000000000": "--samples 100000000000000|would fit",
        "--dims 2 --components 2 --trials 10000000000000": "--trials 10000000000000|would fit",
        "--dims 1000000000": "--pieces",
        "--radius 1e31": "--radius 1e+31|1e+30",
        "--covariance round": "--covariance round|unit, tied_spherical, spherical, diagonal, tied, full",
        "--covariance ''": "--covariance",
        "--eigenvalues 1,2": "--eigenvalues 1,2|--covariance",
        f"{OWN} --covariance full --eigenvalues 1": "--eigenvalues 1|two numbers",
        f"{OWN} --covariance full --eigenvalues 1,2,3": "--eigenvalues 1,2,3|two numbers",
        f"{OWN} --covariance full --eigenvalues low,high": "--eigenvalues low,high|two numbers",
        f"{OWN} --covariance full --eigenvalues 2,1": "--eigenvalues 2,1|LOW <= HIGH",
        f"{OWN} --covariance full --eigenvalues 0,1": "--eigenvalues 0,1|0 < LOW",
        f"{OWN} --covariance full --eigenvalues nan,1": "--eigenvalues nan,1|0 < LOW",
        f"{OWN} --covariance full --eigenvalues 1e-3,1e-2": "--eigenvalues 0.001,0.01|[0.001, 0.01]",
        f"{OWN} --covariance full --eigenvalues 1e-300,1": "--eigenvalues 1e-300,1|float64",
        f"{OWN} --covariance diagonal --eigenvalues 1e-30,1 --dtype float32": "--eigenvalues 1e-30,1|float32",
        f"{OWN} --covariance diagonal --pieces 3": "--pieces 3|at least 4",
        "--data thin.csv --components 2 --covariance full": "--covariance full|thin.csv|N = 3|N > d",
        "--data thin.csv --components 2 --covariance tied": "--covariance tied|thin.csv|N = 3|N > d",
        "--data level.csv --components 2 --covariance diagonal": "diagonal|level.csv|coordinate 2",
        "--data level.csv --components 2 --covariance full": "--covariance full|level.csv|coordinate 2",
        "--data sums.csv --components 2 --covariance full": "--covariance full|sums.csv|linearly dependent",
        "--data constant.csv --components 1 --covariance spherical": "--covariance spherical|constant.csv",
        f"{OWN} --covariance full --init init.json": "--covariance full|--init init.json|covariances",
        f"{OWN} --init full.json": "--covariance unit|--init full.json|covariances",
        f"{OWN} --covariance diagonal --init full.json": "--covariance diagonal|--init full.json|(2, 2, 2)",
        f"{OWN} --covariance full --init skew.json": "--init skew.json|not symmetric",
        f"{OWN} --covariance full --init narrow.json": "--init narrow.json|eigenvalue -1",
        f"{GRID} --covariance full --samples 2": "--samples 2|--dims 2|N > d",
        "--dims 2 --components 1 --samples 1 --covariance spherical": "--samples 1|N >= 2",
        f"{GRID} --covariance full --trials 10000000000000": "--trials 10000000000000|would fit",
        "--radius -0.0": "--radius -0",
        "--floor 1.0": "--floor 1",
        "--floor 1e-45 --dtype float32": "--floor 1e-45|float32",
        "--dtype FLOAT64": "--dtype FLOAT64|float64",
        "--seed 1e3": "--seed|1e3",
        "--start ''": "--start",
        "--start k-means++,": "--start",
        "--steps": "--steps",
        "--out T.npy": "--out T.npy",
    },
    RELU: {
        "--tensor missing.npy": "--tensor missing.npy",
        "--tensor ''": "--tensor",
        "--tensor good.csv": "--tensor good.csv|.npy",
        "--tensor flat.npy": "--tensor flat.npy|(2, 3)",
        "--tensor nan.npy": "--tensor nan.npy|nan",
        "--tensor skew.npy --trials 1": "--tensor skew.npy",
        "--tensor T.npy --dims 2,3": "--dims 2,3|T.npy",
        "--tensor T.npy --max-dim 1": "--max-dim 1|d = 2",
        "--tensor T.npy --start T.npy": "--start T.npy|(2, 2, 2)",
        "--tensor T.npy --start zero.npy": "--start zero.npy",
        "--dims 2 --trials 10000000000": "--trials 10000000000",
        "--dims 2 --trials 1 --steps 100000000000000": "--steps 100000000000000|would fit",
        "--dims 91": "--dims|d = 91|90",
        "--max-dim 100000 --dims 2": "--max-dim|d = 100000",
        "--pieces 10000000": "--pieces 10000000|1000000",
        "--pieces 0x10": "--pieces|0x10",
        "--instances 1e4": "--instances|1e4",
        "--seed -0.5": "--seed|-0.5",
        "--device tpu": "--device tpu",
        "--dtype half": "--dtype half",
    },
    SOFTMAX: {
        "--pairs ''": "--pairs",
        "--pairs 1.5": "--pairs 1.5",
        "--pairs -1": "--pairs -1",
        "--epsilon nan": "--epsilon nan",
        "--epsilon 2": "--epsilon 2",
        "--epsilon small": "--epsilon|small",
        "--sink 0.5": "--sink 0.5",
        "--sink inf": "--sink inf",
        "--sink nan": "--sink nan",
        "--dims 2 --steps 100000000000000": "--steps 100000000000000|would fit",
        "--dims 2 --trials 99999999999": "--trials 99999999999",
        "--dims 69": "--dims|d = 69|at most",
        "--tensor one.npy --start v.npy": "--start v.npy|(2,)",
        "--tensor one.npy --start long.npy --epsilon 1": "--epsilon 1|3e+08",
    },
    RESOURCES: {
        "--dims 0": "--dims 0",
        "--dims 2,513": "--dims 2,513|512",
        "--errors 0": "--errors 0",
        "--errors 1": "--errors 1",
        "--errors nan": "--errors nan",
        "--errors ''": "--errors",
        "--steps many": "--steps|many",
        "surplus": "surplus",
    },
    LEDGER: {
        "--only nothing": "--only nothing",
        "--only ''": "--only",
        "--instances 0": "--instances 0",
        "--instances few": "--instances|few",
        "--instances 100000000000000": "--instances 100000000000000|would fit",
        "--seed 9223372036854775808": "--seed 9223372036854775808",
    },
    LEVELS: {
        "--tasks 1": "--tasks|1",
        "--tasks 2.5": "--tasks|2.5",
        "--tasks 1000000000000": "--tasks 1000000000000|would fit",
        "--seed -1": "--seed -1",
    },
    TRAIN: {
        "--out new": "--preset",
        "--preset smoke": "--out",
        "--preset nowhere --out new": "nowhere",
        "--preset '' --out new": "preset",
        "--preset broken.toml --out new": "broken.toml",
        "--preset strange.toml --out new": "strange.toml|[tasks]",
        "--preset smoke --out earlier": "--out earlier",
        "--preset smoke --out new --device tpu": "--device tpu",
        "--preset smoke --out T.npy": "--out T.npy",
        "--out new --resume": "--out new",
        "--resume": "--out",
    },
    EVALUATE: {
        "": "what",
        "nowhere": "nowhere",
        "d2 --grid main --tasks 1": "--tasks|1",
        "d2 --tasks 1000000000000": "--tasks 1000000000000|would fit",
        "d2 --grid squares": "squares|main",
        "d2 --polish -1": "--polish|-1",
        "d2 --views 0": "--views|0",
        "d2 --views 100000": "--views|100000",
        "d2 --methods em,foo": "--methods em,foo|foo",
        "d2 --methods ''": "--methods|''",
        "d2 --dims 2,x": "--dims 2,x",
        "d2 --dims 3": "d2|--dims 3",
        "d2 --components 9": "d2|--components 9",
        "d2 --samples 1": "1",
        "d2 --samples 1000000000": "1000000000",
        "d2 --samples 64,128": "64, 128",
        "d2 --model nowhere": "nowhere",
        "d2 --model d2": "d2|another d",
        "d2 --ablation d8": "--ablation",
        "d2 --grid embedding": "--ablation",
    },
    COMPARE: {
        "": "checkpoint",
        "nowhere": "nowhere",
        "d2 --only x": "--only x|origins",
        "d2 --only ''": "--only",
        "d2 --tasks 15": "--tasks|15|16",
        "d2 --tasks 1000000000000": "--tasks 1000000000000|would fit",
        "d2 --seed -1": "--seed -1",
    },
    CURVES: {
        "": "runs",
        "nowhere": "nowhere|config.json",
        "good.csv": "good.csv",
        "earlier --seed x": "--seed|x",
        "earlier": "earlier|config.json",
    },
    REAL_DATA: {
        "--model nowhere": "nowhere",
        "--model good.csv": "good.csv",
        "--seed 0.5": "--seed|0.5",
        "surplus": "surplus",
    },
    RELEASE: {
        "": "run",
        "nowhere --evaluation earlier --name d8 --out new": "nowhere",
        "earlier --evaluation nowhere --name d8 --out new": "earlier",
        "earlier --evaluation earlier --name ../d8 --out new": "--name ../d8",
        "earlier --name d8": "--evaluation",
    },
    THROUGHPUT: {
        "": "--preset",
        "--preset nowhere": "nowhere",
        "--preset smoke --steps 2": "--steps 2|3",
        "--preset smoke --steps x": "--steps|x",
        "--preset smoke --steps 1000000000000": "--steps 1000000000000|would fit",
        "--preset smoke --device tpu": "--device tpu",
    },
}
WITHOUT_OUT = (TRAIN, RELEASE, THROUGHPUT)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for name, array in ARRAYS.items():
        np.save(folder / name, array)
    (folder / "earlier").mkdir()
    for name in ("index.html", "paths.png", "metrics.jsonl"):
        (folder / "earlier" / name).write_text("of an earlier run")
    return folder


@pytest.mark.parametrize(("command", "line"), [(c, line) for c, lines in LINES.items() for line in lines])
def test_one_line_and_nothing_touched(command, line, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    module = importlib.import_module(command)
    words = shlex.split(line)
    (workplace / "earlier" / "results.json").write_text(
        json.dumps({"command": command.removesuffix(".__main__")})
    )
    before = snapshot(workplace)
    state = torch.get_rng_state()
    if command not in WITHOUT_OUT and "--out" not in words:
        words += ["--out", "earlier"]
    outcome = invoke(module.app, *words)
    assert outcome.code == 2, (outcome.err, outcome.out)
    [said] = outcome.err.splitlines()
    assert said.startswith("error: ")
    for part in LINES[command][line].split("|"):
        assert part.lower() in said.lower()
    assert outcome.out == ""
    assert snapshot(workplace) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_there_are_enough_of_them():
    assert sum(map(len, LINES.values())) >= 100
