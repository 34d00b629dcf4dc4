"""What ``python -m verify.em_construction`` does once its options are read."""

from __future__ import annotations

import math
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from console.errors import BadInputError, checking_input
from console.folder import file_digest
from console.options import as_typed, plain_value
from console.terminal import progress
from console.typed_json import to_plain
from constructions.em.shared import SOURCE
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from constructions.language.hypotheses import HypothesisError
from verify.em.estimates import as_estimates, best_estimate, scale_remark
from verify.em.measure import Measurement, measure
from verify.em.memory import check_memory
from verify.em.options import Options
from verify.em.own_data import UserData, load_bundled, load_file, load_init
from verify.em.problems import Problem, random_problem, started
from verify.em.sweep import SweepPoint, slopes, sweep
from verify.em.table import print_results
from verify.engine.report import Report
from verify.engine.theorem import rounded

COMMAND = "verify.em_construction"
DEFAULT_SIZES = ((1, 2, 64), (2, 3, 128), (3, 4, 103), (8, 5, 128), (16, 5, 100))
"""(d, K, N) of the default grid; in some of them K does not divide N."""
GRID_TRIALS, DATA_TRIALS = 10, 1
DEFAULT_START = "random-points"


def check(options: Options, out: Path, console: Console) -> int:
    """Run the check that ``options`` describe and return the exit code.

    Raises:
        BadInputError: bad input, before anything is written.
    """
    from verify.em.figures import NAMES, pictures

    generator = torch.Generator().manual_seed(options.seed)
    with checking_input():
        user, problems, centre = _problems(options, generator)
        problems = [rounded(problem, options.dtype) for problem in problems]
        constructions = {
            p.label: [_construction(options, p, count) for count in options.pieces] for p in problems
        }
    run = options.plain() | {"data": file_digest(options.data), "init": file_digest(options.init)}
    report = Report(out, COMMAND, NAMES, run, Path(__file__).with_name("report.html"))
    if user is not None and user.read:
        console.print(user.read, markup=False, highlight=False, soft_wrap=True)
        for remark in user.remarks:
            _warn(remark)
    measurements: list[Measurement] = []
    best: dict[str, list[SweepPoint]] = {}
    equal: dict[str, list[SweepPoint]] = {}
    swept = problems if len(options.pieces) > 1 else []
    with progress(len(problems) * len(options.pieces) + 2 * len(swept)) as start:
        for problem in problems:
            for em in constructions[problem.label]:
                start(f"{problem.label}, {em.pieces.total // 3} pieces")
                on = options.dtype, options.device, options.seed, options.evaluation
                measurements.append(measure(em, problem, *on))
        for problem in swept:
            start(f"{problem.label}, error against pieces, best split")
            many = _more_trials(problem, generator) if user is None else problem
            reach = many.smallest_radius()
            counts = sorted({*options.pieces, *(2 * p for p in options.pieces[:-1])})
            on = options.floor, reach, options.dtype, options.evaluation
            best[problem.label] = sweep(many, counts, "optimal", *on)
            start(f"{problem.label}, error against pieces, equal split")
            equal[problem.label] = sweep(many, options.pieces, "equal", *on)
    results = _results(options, measurements, best, equal, user, centre)
    print_results(console, measurements, best, equal)
    if results["scale"]:
        _warn(results["scale"])
    page = {
        "explanation": measurements[-1].em.explain(),
        "resources": measurements[-1].em.resource_table(),
        "norms": measurements[-1].em.resources().table(),
        "last": [to_plain(m.records[-1]) for m in measurements],
    }
    return report.write(console, results, pictures(measurements, best, equal), page)


def _problems(
    options: Options, generator: torch.Generator
) -> tuple[UserData | None, list[Problem], Tensor | None]:
    """The problems to run; for the user's own data also what was subtracted from the points."""
    named = options.header is not None or options.columns is not None
    _refuse(named and options.data is None, "--header, --columns need --data")
    starts = options.starts or [DEFAULT_START]
    if options.data is None and options.dataset is None:
        _refuse(options.init is not None, "--init needs --data or --dataset")
        _refuse(options.pca is not None or options.standardise is not None, "--pca, --standardise need data")
        trials, sizes = options.trials or GRID_TRIALS, _sizes(options)
        check_memory(options, sizes, trials * len(starts))
        drawn = [random_problem(*size, start, trials, generator) for size in sizes for start in starts]
        return None, drawn, None
    _refuse(options.data is not None and options.dataset is not None, "give --data or --dataset, not both")
    _refuse(
        options.dims is not None or options.samples is not None, "--dims, --samples are for the random grid"
    )
    if options.data is not None:
        standardise = options.standardise or False
        user = load_file(options.data, standardise, options.pca, options.header, options.columns)
    else:
        user = load_bundled(options.dataset or "", options.standardise is not False, options.pca)
    centre = torch.zeros_like(user.X[0]) if options.radius else (user.X.amax(0) + user.X.amin(0)) / 2
    X = user.X - centre
    given = None if options.init is None else _given(options, X.shape[1])
    counts = options.components or ([user.n_classes] if user.n_classes else None)
    K = len(given[0]) if given is not None else _one_count(counts, user.name)
    _refuse(
        given is None and len(X) < K,
        f"{user.name} has N = {len(X)} points for K = {K} components; N >= K is needed",
    )
    trials = options.trials or DATA_TRIALS
    check_memory(options, [(X.shape[1], K, len(X))], trials * len(starts))
    if given is not None:
        weights, means = given
        return user, [Problem(user.name, X[None], weights[None], (means - centre)[None], "given")], centre
    copies = X.expand(trials, -1, -1)
    return user, [started(user.name, copies, K, start, generator) for start in starts], centre


def _given(options: Options, dim: int) -> tuple[Tensor, Tensor]:
    """Weights and means of --init, which says all that other options would."""
    _refuse(options.trials is not None or options.starts is not None, "--init leaves no --trials, --start")
    weights, means = load_init(options.init or Path())
    _refuse(
        means.shape[1] != dim,
        f"--init {options.init}: means have {means.shape[1]} coordinates, the data {dim}",
    )
    _refuse(
        options.components is not None and options.components != [len(weights)],
        f"--components {as_typed(options.components or [])}: --init {options.init} has {len(weights)}",
    )
    return weights, means


def _one_count(counts: list[int] | None, name: str) -> int:
    if counts is None or len(counts) != 1:
        given = "--components is missing" if counts is None else f"--components {as_typed(counts)}"
        raise BadInputError(f"{given}: give one number of components for {name}, as in --components 3")
    return counts[0]


def _sizes(options: Options) -> list[tuple[int, int, int]]:
    if options.dims is None and options.components is None and options.samples is None:
        return list(DEFAULT_SIZES)
    sizes = [
        (d, k, n)
        for d in options.dims or [2, 8]
        for k in options.components or [3, 5]
        for n in options.samples or [128]
    ]
    for _, k, n in sizes:
        _refuse(n < k, f"--samples {n} is fewer than --components {k}; N >= K is needed")
    return sizes


def _construction(options: Options, problem: Problem, pieces: int) -> EMConstruction:
    dim, components, _ = problem.sizes
    radius = problem.smallest_radius() if options.radius is None else options.radius
    # Rounding keeps order: a point within the radius is, after rounding, within the rounded radius.
    rounded = float(torch.tensor(radius, dtype=torch.float64).to(options.dtype))
    radius = rounded if radius < rounded < math.inf else radius
    d0, k0 = options.max_dim or dim, options.max_components or components
    _refuse(dim > d0, f"{problem.name} has d = {dim} coordinates; --max-dim {d0} allows d <= {d0}")
    _refuse(
        components > k0, f"K = {components} components were asked for; --max-components {k0} allows K <= {k0}"
    )
    em = em_construction(d0, k0, options.steps, pieces, options.floor, radius)
    try:
        em.check(problem.X, problem.weights, problem.means, options.dtype)
    except HypothesisError as refusal:
        raise BadInputError(f"{_at_fault(options, str(refusal))}: {refusal}") from None
    return em


def _at_fault(options: Options, refusal: str) -> str:
    """The option that brought what the construction refuses."""
    if "the radius is" in refusal and options.radius is not None:
        return f"--radius {options.radius:g}"
    if options.init is not None and not refusal.startswith("a point"):
        return f"--init {options.init}"
    if "floor" in refusal:
        return f"--floor {options.floor:g}"
    return f"--data {options.data}" if options.data is not None else "the random tasks"


def _more_trials(problem: Problem, generator: torch.Generator) -> Problem:
    dim, components, samples = problem.sizes
    # A fitted slope needs many components: more tasks where one is cheap, in proportion to 1/(d + K)^2.
    trials = min(200, max(10, 2500 // (dim + components) ** 2))
    return random_problem(dim, components, samples, problem.start, trials, generator)


def _refuse(condition: bool, message: str) -> None:
    if condition:
        raise BadInputError(message)


def _results(
    options: Options,
    measurements: list[Measurement],
    best: dict[str, list[SweepPoint]],
    equal: dict[str, list[SweepPoint]],
    user: UserData | None,
    centre: Tensor | None,
) -> dict[str, Any]:
    records = [record for m in measurements for record in m.records]
    broken = sum(record.broken.total for record in records)
    results: dict[str, Any] = {
        "source": SOURCE,
        "passed": broken == 0,
        "broken": broken,
        "seed": options.seed,
        "dtype": plain_value(options.dtype),
        "instances": sum(len(m.problem) for m in measurements),
        "settings": options.plain(),
        "records": records,
        "slopes": slopes(best),
        "sweeps": {"optimal": list(chain(*best.values())), "equal": list(chain(*equal.values()))},
        "resources": measurements[-1].em.resources(),
        "estimates": None,
        "data": None,
        "remarks": [],
        "scale": None,
    }
    if user is not None and centre is not None:
        N, d = user.X.shape
        results["data"] = (
            f"{user.name}: N = {N}, d = {d}, {user.treatment}. Estimates are in these coordinates."
        )
        found = best_estimate(measurements)
        results["estimates"] = as_estimates(found, centre)
        results["remarks"] = user.remarks
        results["scale"] = None if found is None else scale_remark(found, "standardised" in user.treatment)
    return results


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
