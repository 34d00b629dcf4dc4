"""Mutants of tensor power iteration as attention: its weights and its bounds."""

from .mutant import Mutant

TENSOR_POWER: tuple[Mutant, ...] = (
    Mutant(
        "what leaks is added",
        "constructions/tensor_power/softmax_bounds.py",
        "torch.where(known, -first_order, 0.0)",
        "torch.where(known, first_order, 0.0)",
        (
            "tests/constructions/tensor_power/test_direction.py::test_what_the_pairs_err_is_known_with_its_sign",
        ),
        "lemma 3 in the direction",
    ),
    Mutant(
        "known rounding of the other sign",
        "constructions/tensor_power/softmax_bounds.py",
        "Signed(torch.where(apart, signed, 0.0), width)",
        "Signed(torch.where(apart, -signed, 0.0), width)",
        (
            "tests/constructions/tensor_power/test_direction.py::test_the_rounding_of_scores_is_known_with_its_sign",
        ),
        "lemma 4 in the direction",
    ),
    Mutant(
        "a known error that is as good as unknown",
        "constructions/tensor_power/direction.py",
        "across = euclidean(e - unit * (unit * e).sum(-1, keepdim=True))",
        "across = euclidean(e)",
        ("tests/constructions/tensor_power/test_direction.py::test_only_what_is_across_turns",),
        "lemma 5, (vi)",
    ),
    Mutant(
        "a box projected with its signs",
        "constructions/tensor_power/direction.py",
        "projection.abs(), width))",
        "projection, width))",
        ("tests/constructions/tensor_power/test_direction.py::test_a_box_that_is_not_along_an_axis",),
        "lemma 5, (v)",
    ),
    Mutant(
        "a box that does not shorten",
        "constructions/tensor_power/direction.py",
        "least = size - (unit.abs() * width).sum(-1)",
        "least = size",
        ("tests/constructions/tensor_power/test_direction.py::test_a_box_around_a_vector",),
        "lemma 5, (v)",
    ),
    Mutant(
        "known rounding that turns nothing",
        "constructions/tensor_power/direction.py",
        "found = found + turned(y, added)",
        "found = found + 0 * turned(y, added)",
        ("tests/constructions/tensor_power/test_direction.py::test_what_is_drawn_within_is_within",),
        "lemma 5, (vi)",
    ),
    Mutant(
        "rounding of pairs without the heads",
        "constructions/tensor_power/relu_bounds.py",
        "return gamma(tokens + 2 * max_dim + 8, u) * natural_scale(T, v) + _underflow(T, v, dtype)",
        "return gamma(1, u) * natural_scale(T, v) + _underflow(T, v, dtype)",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_bounds.py::test_no_relu_path_leaves_its_bounds",
        ),
        "Theorem 2 in floating point",
    ),
    Mutant(
        "rounding of offset heads without the offset",
        "constructions/tensor_power/relu_bounds.py",
        "scale = natural_scale(T, v) + 2 * offset * T.abs().sum((2, 3))",
        "scale = natural_scale(T, v)",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_an_offset_is_rounded_with_what_it_is_added_to",
        ),
        "fl(a + B) carries the rounding of B",
    ),
    Mutant(
        "plain path without the square of its error",
        "constructions/tensor_power/relu_bounds.py",
        'torch.einsum("bij,bj->bi", slope, e) + contract(size, e)',
        'torch.einsum("bij,bj->bi", slope, e)',
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_plain_step_carries_the_square_of_an_error",
        ),
        "lemma 1 of the plain path, by entries",
    ),
    Mutant(
        "plain path by lengths without the square",
        "constructions/tensor_power/relu_bounds.py",
        "together = length + steep * distance + tau * distance.square()",
        "together = length + steep * distance",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_plain_step_carries_the_square_of_an_error",
        ),
        "lemma 1 of the plain path, by lengths",
    ),
    Mutant(
        "normalised path without the length",
        "constructions/tensor_power/relu_bounds.py",
        "error.append(direction[-1] + step.length)",
        "error.append(direction[-1])",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_normalised_step_adds_its_terms",
        ),
        "the length of a normalised state",
    ),
    Mutant(
        "normalised path without the rounding of its norm",
        "constructions/tensor_power/relu_bounds.py",
        "ratio(2 * entries, 2 - entries)",
        "0.0 * entries",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_normalised_step_adds_its_terms",
        ),
        "the direction is rounded by the norm",
    ),
    Mutant(
        "normalised path without curvature",
        "constructions/tensor_power/relu_bounds.py",
        "curved = tau * eta.square()",
        "curved = 0.0 * eta",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_normalised_step_adds_its_terms",
        ),
        "T(I, e, e)",
    ),
    Mutant(
        "normalised path whose length does not shrink",
        "constructions/tensor_power/relu_bounds.py",
        "size - along * eta - curved",
        "size",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_a_normalised_step_adds_its_terms",
        ),
        "the direction is by the disturbed length",
    ),
    Mutant(
        "chord error at the wrong place",
        "constructions/tensor_power/relu_bounds.py",
        "torch.maximum(-alpha / (3 * beta), knots[:-1])",
        "torch.maximum(-alpha / (2 * beta), knots[:-1])",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_bounds.py::test_the_relative_error_of_the_chords_is_their_largest",
        ),
        "the length after a piecewise norm",
    ),
    Mutant(
        "required offset without the error of the run",
        "constructions/tensor_power/relu_bounds.py",
        "most = float((sizes + path_bound(T[None], states, errors, False).error[0]).max())",
        "most = float(sizes.max())",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_regressions.py::test_the_required_offset_suffices_for_tensors_that_grow_or_none_is_given",
        ),
        "a run must never leave its offset",
    ),
    Mutant(
        "natural scale with signs",
        "constructions/tensor_power/relu_bounds.py",
        "return contract(T.abs(), v.abs())",
        "return contract(T, v).abs()",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_the_natural_scale_does_not_cancel",
        ),
        "what rounding is measured against",
    ),
    Mutant(
        "softmax step without the part of the gap",
        "constructions/tensor_power/softmax_bounds.py",
        "or_infinity(rounding + mismatch)",
        "or_infinity(rounding)",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_bounds.py::test_a_gap_between_s_and_v_is_in_the_bound_of_the_heads_in_real_arithmetic",
        ),
        "s_j is not v_j after a step",
    ),
    Mutant(
        "leakage of the token alone",
        "constructions/tensor_power/softmax_bounds.py",
        "terms = n[:, None, None] * a.abs() + a.abs().sum(1, keepdim=True)",
        "terms = n[:, None, None] * a.abs()",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_what_leaks_to_the_sink_is_within_its_bound",
        ),
        "lemma 3",
    ),
    Mutant(
        "slope of what is lost without the others",
        "constructions/tensor_power/softmax_bounds.py",
        "return a * mass / (1 + mass) + a.sum(1, keepdim=True) * unit / (1 + mass) ** 2",
        "return a * mass / (1 + mass)",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_what_leaks_to_the_sink_is_within_its_bound",
        ),
        "lemma 3 with signs",
    ),
    Mutant(
        "leakage to first order alone",
        "constructions/tensor_power/softmax_bounds.py",
        "return torch.minimum(uniform, first_order.abs() + beyond), signed",
        "return torch.minimum(uniform, first_order.abs()), signed",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_what_leaks_to_the_sink_is_within_its_bound",
        ),
        "lemma 3",
    ),
    Mutant(
        "exp without error",
        "constructions/tensor_power/softmax_bounds.py",
        "exp_error = 2 * EXP_ULPS[dtype] * u",
        "exp_error = 0.0",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_the_error_of_exp_is_in_the_rounding",
        ),
        "lemma 4",
    ),
    Mutant(
        "half of the rounding of a score",
        "constructions/tensor_power/softmax_bounds.py",
        "return u * (largest / (2 * torch.frexp(largest).mantissa))",
        "return u * (largest / (4 * torch.frexp(largest).mantissa))",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_bounds.py::test_the_rounding_of_a_score_is_half_a_unit_of_the_largest",
        ),
        "lemma 4: what limits the accuracy",
    ),
    Mutant(
        "approximation without its tail",
        "constructions/tensor_power/softmax_bounds.py",
        'torch.einsum("bijm,bjm->bi", size, tail)\n    moved',
        '0 * torch.einsum("bijm,bjm->bi", size, tail)\n    moved',
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_the_approximation_is_bounded_where_its_series_is_too_short",
        ),
        "lemma 2",
    ),
    Mutant(
        "series without its first term",
        "constructions/tensor_power/sinh_pairs.py",
        "for r in reversed(range(pairs, stop)):",
        "for r in reversed(range(pairs + 1, stop)):",
        (
            "tests/constructions/tensor_power/test_sinh_pairs.py::test_the_series_and_its_tail_enclose_the_error",
        ),
        "lemma 2",
    ),
    Mutant(
        "a difference quotient without alternating signs",
        "constructions/tensor_power/sinh_pairs.py",
        "Fraction((-1) ** (k + 1) * top,",
        "Fraction(top,",
        (
            "tests/constructions/tensor_power/test_sinh_pairs.py::test_the_weights_solve_the_odd_vandermonde_system_exactly",
        ),
        "lemma 1",
    ),
    Mutant(
        "predicted step of one power too few",
        "constructions/tensor_power/softmax_bounds.py",
        "steepness = 2 * pairs * leading_constant(pairs) * amplitude**power",
        "steepness = leading_constant(pairs) * amplitude**power",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_step_size.py::test_the_predicted_step_is_where_the_model_is_least",
        ),
        "the step size that commands choose",
    ),
    Mutant(
        "rounding of one product of a pair",
        "constructions/tensor_power/softmax_bounds.py",
        "/ (math.sqrt(3) * heads.epsilon)",
        "/ (math.sqrt(12) * heads.epsilon)",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_step_size.py::test_the_predicted_step_is_where_the_model_is_least",
        ),
        "the model of rounding",
    ),
    Mutant(
        "rounding of pairs without underflow",
        "constructions/tensor_power/relu_bounds.py",
        "return gamma(tokens + 2 * max_dim + 8, u) * natural_scale(T, v) + _underflow(T, v, dtype)",
        "return gamma(tokens + 2 * max_dim + 8, u) * natural_scale(T, v)",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_regressions.py::test_the_bound_of_a_mean_covers_subnormal_tensors",
        ),
        "tiny tensors",
    ),
    Mutant(
        "length of the piecewise norm without its argument",
        "constructions/tensor_power/relu_bounds.py",
        "(1 + chord) * torch.expm1(2 * steepest * argument)",
        "0.0",
        (
            "tests/constructions/tensor_power/test_tensor_bound_terms.py::test_the_length_of_a_piecewise_norm_includes_the_rounding_of_the_square",
        ),
        "rounding of |w|^2",
    ),
    Mutant(
        "N once in id with a piecewise norm",
        "constructions/tensor_power/relu.py",
        "id_scale = N if self.inverse_sqrt is None else N.square()",
        "id_scale = N",
        (
            "tests/constructions/tensor_power/test_constructed_tensor_mutations.py::test_the_right_construction_passes",
        ),
        "every factor 1/N is met by one N",
    ),
)
