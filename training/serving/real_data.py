"""What ``python -m training.real_data`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from baselines.em_estimator import EMMixture
from baselines.real_data import RealData, RealDataRow, real_data_estimators, real_data_sets, real_data_table
from console.errors import checking_input
from console.output import RESULTS, check_out, significant, write_json
from console.table_file import Points
from console.terminal import print_table, widen
from constructions.language.shown import short_repr
from training.model.tgmm import TGMM
from training.serving.estimator import TGMMMixture
from training.serving.loading import load_released, shipped_fingerprints
from training.serving.own_points import OwnPoints, fitted, preferred, print_preferred

COMMAND = "training.real_data"


@dataclass(frozen=True)
class Rescaled:
    """A data set divided by the standard deviation within a group, and the log of that, per point."""

    data: RealData
    log_volume: float

    __repr__ = short_repr


def rescaled(data: RealData, seed: int) -> Rescaled:
    """X / sigma, sigma^2 the one variance that EM with tied spherical covariances finds."""
    found = EMMixture(data.n_classes, covariance_type="tied_spherical", n_init=10, random_state=seed).fit(
        data.X
    )
    sigma = float(np.sqrt(found.covariances_[0]))
    return Rescaled(replace(data, X=data.X / sigma), data.X.shape[1] * float(np.log(sigma)))


def learned(model: str | TGMM, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The learned estimators: those for rescaled data, and those that estimate covariances."""
    shared: dict[str, Any] = {"model": model, "n_views": 8, "random_state": seed}
    unit = {
        "network alone, rescaled": TGMMMixture(**shared, polish_steps=0),
        "TGMM, unit, rescaled": TGMMMixture(**shared),
        "EM, unit, rescaled": EMMixture(n_init=10, random_state=seed),
    }
    free = {
        f"TGMM then EM, {kind}": TGMMMixture(**shared, covariance_type=kind, polish_steps=100)
        for kind in ("spherical", "full")
    }
    return unit, free


def learned_rows(data: list[RealData], model: str | TGMM, seed: int) -> list[RealDataRow]:
    """The learned estimators on every data set; where the model does not serve its K, the row says so."""
    unit, free = learned(model, seed)
    rows = []
    for one in data:
        scaled = rescaled(one, seed)
        rows += [
            replace(row, log_likelihood=row.log_likelihood - scaled.log_volume)
            for row in real_data_table(unit, [scaled.data])
        ]
        rows += real_data_table(free, [one])
    return rows


def measure(model: str, seed: int, out: Path | None, own: OwnPoints | None = None) -> int:
    """Measure and print; the exit code. ``own``: a person's points in place of the bundled ones."""
    with checking_input():
        # A model that cannot be read is said before minutes of other rows.
        network = shipped_fingerprints() if model == "auto" else load_released(model).sha256
        points, data = (None, real_data_sets()) if own is None else _of(own)
    run = {"network": network, "seed": seed} | ({} if own is None else own.plain())
    if out is not None:
        check_out(out, COMMAND, (), run)
    console = Console()
    widen(console)
    for line in () if points is None else (points.read, *points.remarks):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    estimators = real_data_estimators(seed)
    with checking_input():
        rows = real_data_table(estimators, data) + learned_rows(data, model, seed)
    for one in data:
        N, d = one.X.shape
        print_table(
            console,
            f"{one.name}: N = {N}, d = {d}, K = {one.n_classes} ({one.treatment})",
            ("estimator", "ARI", "log-likelihood a point", "parameters", "remark"),
            [_cells(row) for row in rows if row.data == one.name],
        )
    results: dict[str, Any] = {"model": model, "seed": seed, "rows": [asdict(row) for row in rows]}
    if points is not None:
        estimators |= learned(model, seed)[1]
        row = preferred(rows, estimators)
        fit = None if row is None else fitted(estimators[row.estimator], row, data[0], points.names)
        if fit is not None and row is not None:
            print_preferred(console, fit, row, data[0])
        results |= {"columns": points.names, "fit": None if fit is None else asdict(fit)}
    if out is not None:
        write_json(out, COMMAND, run, results)
        console.print(f"wrote {out / RESULTS}", markup=False)
    return 0


def _of(own: OwnPoints) -> tuple[Points, list[RealData]]:
    points, data = own.read()
    return points, [data]


def _cells(row: RealDataRow) -> list[str]:
    figures = [significant(value, 3) for value in (row.adjusted_rand_index, row.log_likelihood)]
    return [row.estimator, *figures, str(row.n_parameters or "-"), row.problem[:60]]
