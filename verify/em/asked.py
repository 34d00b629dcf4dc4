"""The problems that the options of the EM check ask for, and a construction for each."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from console.errors import BadInputError
from console.options import as_typed
from constructions.em.tasks import Range
from constructions.em.weights import em_construction
from constructions.language.hypotheses import HypothesisError
from verify.em.covariances import MATRICES, check_slopes, check_spread, default_range, eigenvalue_ends
from verify.em.given import Start, load_init
from verify.em.memory import check_memory
from verify.em.options import Options
from verify.em.own_data import UserData
from verify.em.problems import Problem, random_problem, started
from verify.em.records import AnyEM

DEFAULT_SIZES = ((1, 2, 64), (2, 3, 128), (3, 4, 103), (8, 5, 128), (16, 5, 100))
"""(d, K, N) of the default grid; in some of them K does not divide N."""
COVARIANCE_SIZES = ((1, 2, 64), (2, 3, 128), (3, 4, 203), (8, 5, 512))
"""The same of kinds other than unit: a covariance needs more points."""
GRID_TRIALS, DATA_TRIALS = 10, 1
DEFAULT_START = "random-points"


def problems_of(
    options: Options, generator: torch.Generator
) -> tuple[UserData | None, list[Problem], Tensor | None]:
    """The problems to run; for the user's own data also what was subtracted from the points."""
    user = options.own_points()
    starts = options.starts or [DEFAULT_START]
    if user is None:
        _refuse(options.init is not None, "--init needs --data or --dataset")
        trials, sizes = options.trials or GRID_TRIALS, _sizes(options)
        check_memory(options, sizes, trials * len(starts))
        kind = options.covariance
        drawn = [random_problem(*size, start, trials, generator, kind) for size in sizes for start in starts]
        return None, drawn, None
    _refuse(
        options.dims is not None or options.samples is not None, "--dims, --samples are for the random grid"
    )
    centre = torch.zeros_like(user.X[0]) if options.radius else (user.X.amax(0) + user.X.amin(0)) / 2
    X = user.X - centre
    kind = options.covariance
    check_spread(user.X, kind, user.name)
    given = None if options.init is None else _given(options, X.shape[1])
    K = len(given.weights) if given is not None else user.components(options.components)
    _refuse(
        given is None and len(X) < K,
        f"{user.name} has N = {len(X)} points for K = {K} components; N >= K is needed",
    )
    trials = options.trials or DATA_TRIALS
    check_memory(options, [(X.shape[1], K, len(X))], trials * len(starts))
    if given is not None:
        S = given.covariances
        parts = given.weights[None], (given.means - centre)[None]
        return (
            user,
            [Problem(user.name, X[None], *parts, "given", kind, None if S is None else S[None])],
            centre,
        )
    copies = X.expand(trials, -1, -1)
    return user, [started(user.name, copies, K, start, generator, kind) for start in starts], centre


def _given(options: Options, dim: int) -> Start:
    """The start of --init, which says all that other options would."""
    _refuse(options.trials is not None or options.starts is not None, "--init leaves no --trials, --start")
    given = load_init(options.init or Path(), options.covariance)
    has, K = given.means.shape[1], len(given.weights)
    _refuse(has != dim, f"--init {options.init}: means have {has} coordinates, the data {dim}")
    _refuse(
        options.components is not None and options.components != [K],
        f"--components {as_typed(options.components or [])}: --init {options.init} has {K}",
    )
    return given


def _sizes(options: Options) -> list[tuple[int, int, int]]:
    if options.dims is None and options.components is None and options.samples is None:
        return list(DEFAULT_SIZES if options.covariance == "unit" else COVARIANCE_SIZES)
    sizes = [
        (d, k, n)
        for d in options.dims or [2, 8]
        for k in options.components or [3, 5]
        for n in options.samples or [128]
    ]
    for d, k, n in sizes:
        _refuse(n < k, f"--samples {n} is fewer than --components {k}; N >= K is needed")
        _refuse(
            n <= d and options.covariance in MATRICES,
            f"--samples {n} is not more than --dims {d}; --covariance {options.covariance} needs N > d",
        )
        _refuse(n < 2 and options.covariance != "unit", f"--samples {n}: one point has no variance; N >= 2")
    return sizes


def construction_of(options: Options, problem: Problem, pieces: int) -> AnyEM:
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
    sizes = d0, k0, options.steps, pieces, options.floor, radius
    if options.covariance == "unit":
        em = em_construction(*sizes)
    else:
        span, kind = range_of(options, problem), options.covariance
        check_slopes(span, options.dtype, _brought_range(options, problem))
        _refuse(
            pieces < 4 and kind not in MATRICES,
            f"--pieces {pieces}: squares of --covariance {kind} need at least 4",
        )
        em = em_construction(*sizes, covariance_type=kind, eigenvalues=span)  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        em.check(problem.X, problem.weights, problem.means, options.dtype, problem.covariances)
    except HypothesisError as refusal:
        raise BadInputError(f"{_at_fault(options, problem, str(refusal))}: {refusal}") from None
    return em


def range_of(options: Options, problem: Problem, widened: bool = False) -> Range:
    """Of eigenvalues: as asked for, or as the data need; ``widened`` to hold the start in any case."""
    if options.eigenvalues is None:
        return default_range(problem)
    if not widened or problem.covariances is None:
        return options.eigenvalues
    asked, found = options.eigenvalues, eigenvalue_ends(problem.covariances, problem.covariance_type)
    return Range(min(asked.low, float(found[0].min())), max(asked.high, float(found[1].max())))


def _brought_range(options: Options, problem: Problem) -> str:
    if options.eigenvalues is not None:
        return f"--eigenvalues {as_typed(f'{end:g}' for end in options.eigenvalues)}"
    return f"--covariance {options.covariance}: {problem.name}"


def _at_fault(options: Options, problem: Problem, refusal: str) -> str:
    """The option that brought what the construction refuses."""
    if "eigenvalue of a covariance" in refusal and options.eigenvalues is not None:
        return _brought_range(options, problem)
    if "the radius is" in refusal and options.radius is not None:
        return f"--radius {options.radius:g}"
    if options.init is not None and not refusal.startswith("a point"):
        return f"--init {options.init}"
    if "floor" in refusal:
        return f"--floor {options.floor:g}"
    return f"--data {options.data}" if options.data is not None else "the random tasks"


def _refuse(condition: bool, message: str) -> None:
    if condition:
        raise BadInputError(message)
