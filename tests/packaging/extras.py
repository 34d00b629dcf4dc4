"""Install every extra beside the wheel and run what each is for.

    python -m tests.packaging.extras

Without an extra the same commands are refused in one line, which tests.packaging.wheel looks at. Exit code 1
when anything fails.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .built import build
from .environment import CONSTRAINTS, PINNED_TORCH, Environment
from .session import Expected, Session

TRAIN = "python -m training.train --preset smoke --set training.steps=2"
SMALL = "--dims 1 --components 2 --samples 12 --steps 1 --pieces 16"
STUDY = "python -m training.compare --study finding --quick --dask"
HOOKED = (
    "import sys; from constructions import em_construction; "
    "from training.interpretability.circuit import circuit_of; "
    "from training.interpretability.hooked import to_hooked_transformer\n"
    "try: print(to_hooked_transformer(em_construction(1, 2, 1, 16).to_transformer()).cfg.n_layers)\n"
    "except ValueError as problem: sys.exit(str(problem))"
)
WITH_CLUSTER = (
    "import subprocess, sys; from distributed import LocalCluster\n"
    "if __name__ == '__main__':\n"
    "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:\n"
    "        words = [sys.executable, *'{words}'.split()[1:], cluster.scheduler_address, '--out', 'study']\n"
    "        sys.exit(subprocess.run(words).returncode)\n"
)
TABLES = (
    "import pandas; table = pandas.read_csv('points.csv'); "
    "table.to_parquet('d.parquet'); table.to_excel('d.xlsx', index=False)"
)
COMMANDS = {
    "certify": [
        f"python -m verify.em_construction {SMALL} --trials 1 --certify --out certified",
        f"python -m verify.certified_regions {SMALL} --tasks 1 --radii 1e-6 --out regions",
        "python -m verify.precision --theorems ridge --dtypes float64 --tasks 1 --workers 1 --out precision",
        "gmm-theory verify --only ridge-certified --instances 1 --out ledger-certified",
    ],
    "mamba": [f"{TRAIN} --set model.backbone=mamba2 --out mamba"],
    "tensorboard": [f"{TRAIN} --tensorboard --out boards"],
    "tables": [
        f"python -m verify.em_construction --data d.{kind} --components 2 --steps 1 --pieces 64 --out {kind}"
        for kind in ("parquet", "xlsx")
    ],
}
"""Of each extra, commands that it is for, as one types them."""


def files_for(folder: Path) -> None:
    """A table, and empty files in the place of those that cannot be written without an extra."""
    points = [f"{x},{x * x % 3}" for x in range(-6, 7)]
    (folder / "points.csv").write_text("\n".join(["x,y", *points]) + "\n")
    for name in ("d.parquet", "d.xlsx"):
        (folder / name).touch()


def refusals() -> Iterator[Expected]:
    """Every command where its extra is missing."""
    yield from (
        Expected(words, f"pip install 'gmm-theory-toolkit[{extra}]'", code=2)
        for extra, commands in COMMANDS.items()
        for words in commands
    )
    yield Expected(f"{STUDY} tcp://127.0.0.1:1 --out study", "toolkit[distributed]'", code=2)
    yield Expected(("python", "-c", HOOKED), "toolkit[interpretability]'", code=1)


def main() -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory(prefix="extras-") as name:
        return _try(Path(name))


def _try(place: Path) -> int:
    wheel, _ = build(place)
    environment = Environment(place / "environment")
    began = time.perf_counter()
    environment.install(PINNED_TORCH)
    extras = ",".join((*COMMANDS, "distributed", "interpretability"))
    environment.install("--constraint", CONSTRAINTS, f"{wheel}[{extras}]")
    session = Session(environment, place / "empty")
    session.folder.mkdir()
    session.note(f"installed with {extras}", [], time.perf_counter() - began)
    files_for(session.folder)
    session.run(Expected(("python", "-c", TABLES)))
    for commands in COMMANDS.values():
        for words in commands:
            session.run(Expected(words))
    (session.folder / "cluster.py").write_text(WITH_CLUSTER.format(words=STUDY))
    session.run(Expected("python cluster.py", writes=["study/results.json"]))
    session.run(Expected(("python", "-c", HOOKED), "2"))
    events = [*(session.folder / "boards" / "tensorboard").glob("events.*")]
    session.note("TensorBoard's events are there", [] if events else ["no file"], 0.0)
    return session.close()


if __name__ == "__main__":
    sys.exit(main())
