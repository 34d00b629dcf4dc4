"""Mutants of the reference algorithms in balls: formulas, radii that are lost, decisions that are guessed."""

from .mutant import Mutant

FOLDER = "tests/verify/certify/references"

REFERENCES: tuple[Mutant, ...] = (
    Mutant(
        "one variance of d in log det",
        "verify/certify/references/em.py",
        "log_det = repeated * sum(",
        "log_det = sum(",
        (f"{FOLDER}/test_em.py::test_mpmath_with_many_digits_lies_in_the_balls",),
        "EM with isotropic covariances in balls",
    ),
    Mutant(
        "means lose their radius",
        "verify/certify/references/em.py",
        "off = [_difference(mean, origin) for",
        "off = [_difference(origin, origin) for",
        (f"{FOLDER}/test_em.py::test_a_step_from_balls_holds_the_steps_from_what_they_hold",),
        "a certified path: the error of a step is carried into the next",
    ),
    Mutant(
        "a component is never empty",
        "verify/certify/references/em.py",
        "if any(not above(weight, TINY) for weight in weights):",
        "if any(not above(weight, arb(0)) for weight in weights):",
        (f"{FOLDER}/test_em.py::test_an_empty_component_ends_the_path",),
        "states are NaN where those of the torch reference are",
    ),
    Mutant(
        "singular by its own size alone",
        "verify/certify/references/em.py",
        "above(s, share * (s + square))",
        "above(s, share * s)",
        (
            f"{FOLDER}/test_em.py::test_a_small_variance_beside_a_far_component_is_singular_where_torch_says_so",
        ),
        "states are NaN where those of the torch reference are",
    ),
    Mutant(
        "one half of T for both",
        "verify/certify/references/tensor_power.py",
        "s[j][m] + s[m][j] if j < m",
        "s[j][m] + s[j][m] if j < m",
        (
            f"{FOLDER}/test_tensor_power.py::test_the_plain_iteration_of_dyadic_numbers_holds_the_fractions",
            f"{FOLDER}/test_tensor_power.py::test_exact_zeros_of_skew_tensors_stay_zeros",
        ),
        "T need not be symmetric",
    ),
    Mutant(
        "a direction without the radius of its start",
        "verify/certify/references/tensor_power.py",
        "near = [x / scale + y for",
        "near = [x / scale + y.mid() for",
        (f"{FOLDER}/test_tensor_power.py::test_a_direction_from_balls_holds_those_from_what_they_hold",),
        "a certified path of a normalised iteration",
    ),
    Mutant(
        "an invariant space to first order",
        "verify/balls/spaces.py",
        "right = A21 + E2 * X - X * E1 - X * A12 * X",
        "right = A21 + E2 * X - X * E1",
        (
            "tests/verify/balls/test_spaces.py::test_the_leading_space_is_invariant_and_of_the_largest_eigenvalues",
        ),
        "the whitening where there are fewer components than coordinates",
    ),
    Mutant(
        "the first end wins where scores overlap",
        "verify/certify/references/power_method.py",
        "        whole = [x.union(y) for x, y in zip(whole, end, strict=True)]\n",
        "",
        (f"{FOLDER}/test_power_method.py::test_a_winner_is_decided_shared_or_refused",),
        "decisions are made by comparisons that are decided",
    ),
    Mutant(
        "noise of the third moment in two places",
        "verify/certify/references/spectral.py",
        "h[a] * G[b, c] + h[b] * G[a, c] + h[c] * G[a, b]",
        "h[a] * G[b, c] + h[b] * G[a, c]",
        (f"{FOLDER}/test_spectral.py::test_mpmath_with_many_digits_lies_in_the_balls",),
        "the spectral algorithm in balls",
    ),
)
