"""Commands that an installation must run from an empty folder; they read every kind of data file."""

from __future__ import annotations

from .session import Expected
from .tree import PACKAGES

PAGE = ("index.html", "results.json")
INSTALLED = (
    f"import {', '.join(PACKAGES)}, sys; from pathlib import Path; "
    f"print(all(Path(m.__file__).is_relative_to(sys.prefix) for m in ({', '.join(PACKAGES)})))"
)
NETWORKS = (
    "from training import load_tgmm; from training.serving.shipped import SHIPPED; "
    "print(len([load_tgmm(name) for name in SHIPPED]) == len(SHIPPED) > 0)"
)
CRITERION = (
    "import torch; from training.counting import learned_count; "
    "print(1 <= int(learned_count(torch.randn(1, 90, 2, dtype=torch.float64))[0]) <= 90)"
)
ESTIMATORS = (
    "import numpy as np; from baselines.em_estimator import EMMixture; from training import TGMMMixture; "
    "X = np.random.default_rng(0).normal(size=(120, 8)); "
    "print(all(np.isfinite(one.fit(X).bic(X)) for one in (EMMixture(3), TGMMMixture(3))))"
)


def _in(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}" for name in names]


COMMANDS = (
    Expected(("python", "-c", INSTALLED), "True"),
    Expected("gmm-theory --version", "gmm-theory "),
    Expected("gmm-theory --help", "em-construction"),
    Expected("gmm-theory nothing", "it is one of verify, em-construction", code=2),
    Expected(
        "python -m verify.em_construction --dims 2 --components 3 --samples 40 --steps 2 --pieces 64 "
        "--trials 1 --player --out em",
        writes=_in("em", *PAGE, "player.html"),
    ),
    Expected(
        "gmm-theory tensor-power --dims 2 --steps 2 --trials 1 --player --out power",
        writes=_in("power", *PAGE, "player.html"),
    ),
    Expected("python -m verify.resources --dims 2 --errors 1e-2 --out sizes", writes=_in("sizes", *PAGE)),
    Expected("python -m verify --only em-exact --instances 10 --out ledger", writes=_in("ledger", *PAGE)),
    Expected("python -m training.train --list-presets", "paper-faithful"),
    Expected(
        "python -m training.train --preset smoke --set training.steps=2 --out run",
        writes=_in("run", "config.json", "model.safetensors"),
    ),
    Expected("python -m training.curves run --out curves", writes=_in("curves", *PAGE)),
    Expected(
        "python -m training.evaluate d2 --tasks 2 --methods none --out measured",
        writes=_in("measured", *PAGE),
    ),
    Expected("python -m training.export d8 --out circuits", writes=_in("circuits", "d8.json")),
    Expected("python -m training.export em --out circuits", writes=_in("circuits", "em.json")),
    Expected(("python", "-c", NETWORKS), "True"),
    Expected(("python", "-c", ESTIMATORS), "True"),
)
