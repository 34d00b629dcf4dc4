"""Every theorem and every claim that the ledger checks, in the order in which it prints them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from console.errors import BadInputError
from verify.em import checks as em_checks
from verify.em import covariance_checks
from verify.em.covariance_theorem import EVERY_KIND
from verify.em.theorem import THEOREM_1
from verify.engine.claims import check_paths, check_search
from verify.engine.loading import load_theorem
from verify.engine.record import Record
from verify.engine.theorem import Theorem
from verify.gallery.kmeans import LLOYD, check_hard_limit
from verify.gallery.least_squares import LEAST_SQUARES
from verify.gallery.mirror_descent import MIRROR_DESCENT
from verify.gallery.pca import PRINCIPAL_AXES
from verify.gallery.ridge import RIDGE
from verify.spectral import checks as spectral_checks
from verify.spectral import theorem as spectral
from verify.tensor import exact_checks as tensor_power_exact_checks
from verify.tensor import relu_checks as tensor_power_checks
from verify.tensor import softmax_checks as softmax_tensor_checks
from verify.tensor import theorem as tensor_power
from verify.tensor.structured_checks import check_structured as check_structured_tensors

Check = Callable[[int, int], list[Record]]
"""(seed, number of one-step instances) -> records. A check that samples otherwise says so in its record."""


def _later(module: str, name: str) -> Check:
    """A check that is imported when it runs: what it needs takes longer to load than torch does."""

    def check(seed: int, instances: int) -> list[Record]:
        return getattr(importlib.import_module(module), name)(seed, instances)

    return check


GALLERY: dict[str, Theorem[Any]] = {
    theorem.key: theorem for theorem in (LEAST_SQUARES, RIDGE, PRINCIPAL_AXES, LLOYD, MIRROR_DESCENT)
}
"""Other people's theorems, by their keys."""

THEOREMS: dict[str, Theorem[Any]] = {
    "em": THEOREM_1,
    **{theorem.key: theorem for theorem in EVERY_KIND},
    "tensor-power": tensor_power.RELU,
    "softmax-tensor-power": tensor_power.SOFTMAX,
    "spectral": spectral.SPECTRAL,
    "spectral-squares": spectral.SQUARES,
    "spectral-variance": spectral.ESTIMATED,
    **GALLERY,
}
"""By their keys."""


def checks_of(theorem: Theorem[Any]) -> dict[str, Check]:
    """The lines that every theorem has in the ledger: a search, and paths of several steps."""
    return {
        f"{theorem.key}-search": partial(check_search, theorem),
        f"{theorem.key}-paths": partial(check_paths, theorem),
    }


CERTIFIED = (
    *("em", "em-tied-spherical", "em-spherical", "em-diagonal", "em-tied", "em-full"),
    *("tensor-power", "softmax-tensor-power", "spectral", "spectral-squares", "spectral-variance"),
    *GALLERY,
)
"""Keys of the theorems whose bounds are evaluated in balls; their searches have a certified line too."""

FEWER: dict[str, int] = dict.fromkeys(
    ("spectral", "spectral-squares", "spectral-variance"), spectral_checks.FEWER
)
"""How many times fewer instances a search has, here as where it is sampled."""


def _certified(key: str) -> Check:
    def check(seed: int, instances: int) -> list[Record]:
        from verify.certify.checks import check_certified  # python-flint, which not everybody has

        return check_certified(THEOREMS[key], seed, max(1, instances // FEWER.get(key, 1)))

    return check


CHECKS: dict[str, Check] = {
    "em-exact": em_checks.check_exactness,
    "em-search": em_checks.check_search,
    "em-search-float32": em_checks.check_search_float32,
    "em-search-edges": em_checks.check_search_edges,
    "em-structured": em_checks.check_structured,
    "em-slope": em_checks.check_slope,
    "em-ten-steps": em_checks.check_ten_steps,
    "em-read-out": em_checks.check_read_out,
    "em-covariances-search": covariance_checks.check_search,
    "em-covariances-search-float32": covariance_checks.check_search_float32,
    "em-covariances-accuracy": covariance_checks.check_accuracy,
    "em-covariances-slope": covariance_checks.check_slope,
    "em-covariances-real-data": covariance_checks.check_real_data,
    "tensor-symbolic": tensor_power_exact_checks.check_symbolic,
    "tensor-rational": tensor_power_exact_checks.check_rational,
    "tensor-rounding": tensor_power_checks.check_rounding,
    "tensor-paths": tensor_power_checks.check_paths,
    "tensor-recovery": tensor_power_checks.check_recovery,
    "tensor-structured": check_structured_tensors,
    "softmax-search": softmax_tensor_checks.check_search,
    "softmax-search-float32": softmax_tensor_checks.check_search_float32,
    "softmax-best": softmax_tensor_checks.check_best,
    "softmax-sink": softmax_tensor_checks.check_sink,
    "softmax-paths": softmax_tensor_checks.check_paths,
    "spectral-search": spectral_checks.check_search,
    "spectral-squares-search": spectral_checks.check_search_squares,
    "spectral-variance-search": spectral_checks.check_search_variance,
    "spectral-sizes": spectral_checks.check_sizes,
    "spectral-size": spectral_checks.check_size,
    "spectral-failures": spectral_checks.check_failures,
    **{name: check for theorem in GALLERY.values() for name, check in checks_of(theorem).items()},
    "kmeans-hard-limit": check_hard_limit,
    **{f"{key}-certified": _certified(key) for key in CERTIFIED},
    "reference-levels": _later("verify.levels.check", "check_reference_levels"),
    "learned-copies": _later("verify.learned.weights", "check_copies"),
    "learned-staying": _later("verify.learned.weights", "check_staying"),
    "learned-returning": _later("verify.learned.weights", "check_returning"),
    "learned-probes": _later("verify.learned.networks", "check_probes"),
    "learned-patches": _later("verify.learned.networks", "check_patches"),
    "learned-worth": _later("verify.learned.networks", "check_worth"),
    "learned-traced": _later("verify.learned.finding", "check_traced"),
    "learned-interchange": _later("verify.learned.finding", "check_interchange"),
    "learned-rule": _later("verify.learned.finding", "check_rule"),
}


def own_checks(places: Sequence[str]) -> dict[str, Check]:
    """The two lines of each theorem that stands in a file of somebody's own, FILE.py:NAME, by their names.

    Raises:
        BadInputError: a file that holds no such theorem, or one with the key of another.
    """
    found: dict[str, Check] = {}
    for place in places:
        lines = checks_of(load_theorem(place, "--theorems"))
        if taken := sorted(lines.keys() & (found.keys() | CHECKS.keys())):
            raise BadInputError(f"--theorems {place}: the ledger has {taken[0]} already; choose another key")
        found |= lines
    return found
