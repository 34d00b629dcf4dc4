"""Mutants of the table of precisions."""

from .mutant import Mutant

FOLDER = "verify/certify/precision/"
TESTS = "tests/verify/certify/precision/"
RATIONALS = TESTS + "test_distances.py::test_least_squares_is_that_of_exact_rationals"

PRECISION: tuple[Mutant, ...] = (
    Mutant(
        "a rounding that is measured against the algorithm",
        FOLDER + "distances.py",
        "(run, truth.layers[name])]",
        "(run, algorithm)]",
        (RATIONALS,),
        "rounding is what floating point adds to the same weights",
    ),
    Mutant(
        "lower ends for upper ends",
        FOLDER + "distances.py",
        "    return max(lows), max(highs)",
        "    return max(lows), max(lows)",
        (RATIONALS,),
        "a certified error is never below the error",
    ),
    Mutant(
        "a scale without the start",
        FOLDER + "distances.py",
        "torch.linalg.vector_norm(balls(path), dim=-1)",
        "torch.linalg.vector_norm(balls(path)[:, 1:], dim=-1)",
        (RATIONALS,),
        "the scale is the largest length on the whole path",
    ),
    Mutant(
        "a kernel that is not the one asked for",
        FOLDER + "running.py",
        "nullcontext() if chosen is None else sdpa_kernel(chosen)",
        "nullcontext() if chosen is None else sdpa_kernel(KERNELS['flash'])",
        (TESTS + "test_running.py::test_kernels_give_other_bits_within_the_same_bound",),
        "the table says what was really run",
    ),
    Mutant(
        "the lower median of an even number",
        FOLDER + "table.py",
        "statistics.median_high(known)",
        "statistics.median_low(known)",
        (TESTS + "test_table.py::test_a_median_is_never_below",),
        "the median of upper ends is an upper end of the median",
    ),
)
