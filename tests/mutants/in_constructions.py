"""Mutants of the hand-built weights, their runtime and their bounds."""

from .mutant import Mutant

CONSTRUCTIONS: tuple[Mutant, ...] = (
    Mutant(
        "rounding of a sum of hinges without its knots",
        "constructions/language/piecewise.py",
        "knot_mass = float(np.abs(self.hinge_weights * self.hinge_knots).sum())",
        "knot_mass = 0.0",
        (
            "tests/constructions/language/test_piecewise.py::test_a_knot_that_is_large_beside_its_values_is_stored_with_its_own_rounding",
        ),
        "the bound on what float32 makes of a piecewise function",
    ),
    Mutant(
        "rounding of a sum of hinges without its slopes",
        "constructions/language/piecewise.py",
        "slopes_part = 4 * self.pieces * unit_roundoff(torch.float64) * float(np.abs(self.values).max())",
        "slopes_part = 0.0",
        (
            "tests/constructions/language/test_language_parts.py::test_the_compiled_sum_is_within_its_rounding_at_every_point",
        ),
        "the bound in float64",
    ),
    Mutant(
        "rounding of hinges at one end only",
        "constructions/language/piecewise.py",
        "reach = max(self._hinge_mass(x) for x in self.inputs)",
        "reach = min(self._hinge_mass(x) for x in self.inputs)",
        (
            "tests/constructions/language/test_piecewise.py::test_the_compiled_log_is_within_its_rounding_also_below_the_floor",
        ),
        "the bound holds for every input",
    ),
    Mutant(
        "error of a curve from its other side",
        "constructions/language/piecewise.py",
        "return max(-low, high)",
        "return high",
        ("tests/constructions/language/test_piecewise.py::test_no_error_is_above_the_bound",),
        "the approximation error of log is below it",
    ),
    Mutant(
        "error of a sum of entries as of one",
        "constructions/language/mlp.py",
        "return abs(self.scale) * summed * self.function.approximation_error",
        "return abs(self.scale) * self.function.approximation_error",
        (
            "tests/constructions/language/test_language.py::test_parts_of_an_mlp_print_and_say_what_they_touch",
        ),
        "what a layer table says of |mu|^2/2",
    ),
    Mutant(
        "a pick without its bound",
        "constructions/language/mlp.py",
        "reads=np.repeat(np.tile(np.array(self.read.columns), self.write.width), 2),\n"
        "                writes=np.repeat(np.array(self.write.columns), 2 * width),\n"
        "                gains=signs,\n"
        "                biases=np.full(2 * entries, -self.bound),",
        "reads=np.repeat(np.tile(np.array(self.read.columns), self.write.width), 2),\n"
        "                writes=np.repeat(np.array(self.write.columns), 2 * width),\n"
        "                gains=signs,\n"
        "                biases=np.full(2 * entries, 0.0),",
        (
            "tests/constructions/language/test_language_parts.py::test_pick_is_the_entry_pointed_at_also_at_the_bound_and_at_zero",
        ),
        "s_j = v_j of the softmax form",
    ),
    Mutant(
        "the second of a pair of heads adds",
        "constructions/language/heads.py",
        "ReluHead(-score, read, write, -scale)",
        "ReluHead(-score, read, write, scale)",
        ("tests/constructions/language/test_assembly.py::test_a_linear_pair_is_the_bilinear_map",),
        "relu(a) - relu(-a) = a",
    ),
    Mutant(
        "one norm for both sub-layers",
        "constructions/language/transformer.py",
        "h = h + self.mlp(self.norm2(h))",
        "h = h + self.mlp(self.norm1(h))",
        (
            "tests/constructions/language/test_transformer.py::test_a_norm_is_applied_to_the_input_of_each_sub_layer",
        ),
        "pre-norm transformers",
    ),
    Mutant(
        "a token sees the next",
        "constructions/language/transformer.py",
        "earlier = torch.ones_like(own).tril()",
        "earlier = torch.ones_like(own).tril(1)",
        (
            "tests/constructions/language/test_causal_attention.py::test_with_and_without_a_mask_causal_attention_agrees",
        ),
        "causal attention with padding",
    ),
    Mutant(
        "ReLU attention divided by padding too",
        "constructions/language/transformer.py",
        "tokens = key_mask.sum(-1)\n",
        "tokens = 0 * key_mask.sum(-1) + k.shape[2]\n",
        (
            "tests/constructions/language/test_language_parts.py::test_divided_by_the_tokens_attention_is_a_mean_over_the_real_ones",
        ),
        "a mean over the real tokens",
    ),
    Mutant(
        "weights averaged over all columns",
        "constructions/language/readout.py",
        "mean_logits = (present[:, :, None] * logits).sum(1) / present.sum(1, keepdim=True)",
        "mean_logits = logits.mean(1)",
        (
            "tests/constructions/language/test_causal_attention.py::test_absent_components_leave_the_average_over_the_columns",
        ),
        "the read-out where K < K0",
    ),
    Mutant(
        "a read-out of low sharpness",
        "constructions/language/readout.py",
        "SHARPNESS = 64.0",
        "SHARPNESS = 16.0",
        ("tests/constructions/em/test_constructed_em_use.py::test_the_read_out_is_the_end_of_the_path",),
        "other slots leak by N e^-beta",
    ),
    Mutant(
        "layers counted without loops",
        "constructions/language/resources.py",
        "layers=len(transformer.shape.sequence) * transformer.shape.loops",
        "layers=len(transformer.shape.sequence)",
        ("tests/constructions/language/test_counts.py::test_counts_are_those_of_the_matrices",),
        "the theorem's 2 L layers",
    ),
    Mutant(
        "spectral norm squared",
        "constructions/language/resources.py",
        "[..., -1].clamp(min=0).sqrt().max()",
        "[..., -1].clamp(min=0).max()",
        ("tests/constructions/language/test_counts.py::test_counts_are_those_of_the_matrices",),
        "norms of the weights",
    ),
    Mutant(
        "a quarter of the squares' error",
        "constructions/em/pieces.py",
        "return log_chord_error(floor, log_pieces) + dim * radius**2 / (\n        2 * np",
        "return log_chord_error(floor, log_pieces) + dim * radius**2 / (\n        8 * np",
        (
            "tests/constructions/language/test_piecewise.py::test_the_spread_of_the_logits_is_that_of_the_functions",
        ),
        "the optimal split and the pieces for a target",
    ),
    Mutant(
        "log of a weight off by its size, to first order only",
        "constructions/em/path_bounds.py",
        "log_weight = torch.where(relative < 1, -torch.log1p(-relative), math.inf)",
        "log_weight = torch.where(relative < 1, relative, math.inf)",
        (
            "tests/constructions/em/test_em_path_terms.py::test_a_step_disturbs_means_and_logarithms_of_weights",
        ),
        "lemma 7",
    ),
    Mutant(
        "disturbance of means alone",
        "constructions/em/path_bounds.py",
        "squared = then * (bound.mean_instance.square() + log_weight.square())",
        "squared = then * bound.mean_instance.square()",
        (
            "tests/constructions/em/test_em_path_terms.py::test_a_step_disturbs_means_and_logarithms_of_weights",
        ),
        "lemma 7",
    ),
    Mutant(
        "path error of a weight to first order",
        "constructions/em/path_bounds.py",
        "then * torch.expm1(component_radius)",
        "then * component_radius",
        ("tests/constructions/em/test_em_path_terms.py::test_a_radius_allows_every_component_its_share",),
        "lemma 7",
    ),
    Mutant(
        "a component's radius not by its weight",
        "constructions/em/path_bounds.py",
        "radii[-1][:, None] / then.sqrt(), 0.0)",
        "radii[-1][:, None], 0.0)",
        ("tests/constructions/em/test_em_path_terms.py::test_a_radius_allows_every_component_its_share",),
        "the norm of lemma 7",
    ),
    Mutant(
        "approximation of one step that is not carried on",
        "constructions/em/path_bounds.py",
        "approximate = approximate + _carried(factor, exact[-1])",
        "approximate = approximate + 0 * _carried(factor, exact[-1])",
        (
            "tests/constructions/em/test_em_path_terms.py::test_approximation_and_rounding_are_carried_by_the_same_factors",
        ),
        "lemma 7, approximation and rounding apart",
    ),
    Mutant(
        "rounding counted as approximation",
        "constructions/em/path_bounds.py",
        "_disturbance(bound.without_rounding(), then, component_mask)",
        "_disturbance(bound, then, component_mask)",
        (
            "tests/constructions/em/test_em_path_terms.py::test_without_rounding_a_step_is_bounded_in_every_dtype_alike",
        ),
        "lemma 7, approximation and rounding apart",
    ),
    Mutant(
        "derivative at the centre of the ball alone",
        "constructions/em/path_bounds.py",
        "return torch.where(finite, centre + movement, math.inf)",
        "return torch.where(finite, centre, math.inf)",
        (
            "tests/constructions/em/test_constructed_em_tight.py::test_the_derivative_moves_within_the_ball_so_the_bound_must",
        ),
        "the Lipschitz factor on a ball",
    ),
    Mutant(
        "a path beyond a weight at the floor",
        "constructions/em/path_bounds.py",
        "alive = alive & above_floor & ~bound.undefined.any(-1)",
        "alive = alive & ~bound.undefined.any(-1)",
        (
            "tests/constructions/em/test_em_path_terms.py::test_nothing_is_claimed_once_a_weight_is_not_above_the_floor",
        ),
        "the hypothesis of lemma 7",
    ),
    Mutant(
        "responsibilities by the number of tokens of a slot",
        "constructions/em/weights.py",
        "dot(q.log_pi, k.slot) - k.half_norm2 - k.log_count",
        "dot(q.log_pi, k.slot) - k.half_norm2",
        ("tests/constructions/em/test_constructed_em_mutations.py::test_the_right_construction_passes",),
        "K does not divide N",
    ),
    Mutant(
        "the whole of |mu|^2 after a step",
        "constructions/em/weights.py",
        "apply(square, read=s.mu, write=s.half_norm2, scale=0.5)",
        "apply(square, read=s.mu, write=s.half_norm2, scale=1.0)",
        ("tests/constructions/em/test_constructed_em_mutations.py::test_the_right_construction_passes",),
        "the second step",
    ),
    Mutant(
        "log of the weights not floored at the start",
        "constructions/em/read_in.py",
        "return tasks.weights.double().clamp_min(floor).log(), ",
        "return tasks.weights.double().log(), ",
        ("tests/constructions/em/test_constructed_em.py::test_corners",),
        "weights below the floor count as at it",
    ),
    Mutant(
        "logits on a ball to first order",
        "constructions/em/path_bounds.py",
        "eta = reach[:, :, None] * phi + reach[:, :, None].square() / 2",
        "eta = reach[:, :, None] * phi",
        ("tests/constructions/em/test_em_path_terms.py::test_how_far_the_derivative_moves_in_a_ball",),
        "the enclosure of responsibilities",
    ),
    Mutant(
        "new means that stay where they are",
        "constructions/em/path_bounds.py",
        "most * (shift_k * phi + (psi_k + shift_k) * reach[:, :, None])",
        "most * psi_k * reach[:, :, None]",
        ("tests/constructions/em/test_em_path_terms.py::test_how_far_the_derivative_moves_in_a_ball",),
        "the enclosure of the derivative",
    ),
    Mutant(
        "offsets that stay where they are",
        "constructions/em/path_bounds.py",
        "most * (shift_k * phi + (psi_k + shift_k) * reach[:, :, None])",
        "most * shift_k * phi",
        ("tests/constructions/em/test_em_path_terms.py::test_how_far_the_derivative_moves_in_a_ball",),
        "the enclosure of the derivative",
    ),
)
