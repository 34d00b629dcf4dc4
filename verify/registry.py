"""Every claim that the ledger checks, in the order in which it prints them."""

from __future__ import annotations

from collections.abc import Callable

from verify.em import checks as em_checks
from verify.engine.record import Record
from verify.learned import networks as learned_networks
from verify.learned import weights as learned
from verify.levels.check import check_reference_levels
from verify.tensor import exact_checks as tensor_power_exact_checks
from verify.tensor import relu_checks as tensor_power_checks
from verify.tensor import softmax_checks as softmax_tensor_checks

Check = Callable[[int, int], list[Record]]
"""(seed, number of one-step instances) -> records. A check that samples otherwise says so in its record."""

CHECKS: dict[str, Check] = {
    "em-exact": em_checks.check_exactness,
    "em-search": em_checks.check_search,
    "em-search-float32": em_checks.check_search_float32,
    "em-search-edges": em_checks.check_search_edges,
    "em-slope": em_checks.check_slope,
    "em-ten-steps": em_checks.check_ten_steps,
    "em-read-out": em_checks.check_read_out,
    "tensor-symbolic": tensor_power_exact_checks.check_symbolic,
    "tensor-rational": tensor_power_exact_checks.check_rational,
    "tensor-rounding": tensor_power_checks.check_rounding,
    "tensor-paths": tensor_power_checks.check_paths,
    "tensor-recovery": tensor_power_checks.check_recovery,
    "softmax-search": softmax_tensor_checks.check_search,
    "softmax-search-float32": softmax_tensor_checks.check_search_float32,
    "softmax-best": softmax_tensor_checks.check_best,
    "softmax-sink": softmax_tensor_checks.check_sink,
    "softmax-paths": softmax_tensor_checks.check_paths,
    "reference-levels": check_reference_levels,
    "learned-copies": learned.check_copies,
    "learned-staying": learned.check_staying,
    "learned-returning": learned.check_returning,
    "learned-probes": learned_networks.check_probes,
    "learned-patches": learned_networks.check_patches,
    "learned-worth": learned_networks.check_worth,
}
