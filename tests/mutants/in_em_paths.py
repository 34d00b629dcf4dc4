"""Mutants of the reference EM step and path, and of the bound of their rounding."""

from .mutant import Mutant

EM_PATHS: tuple[Mutant, ...] = (
    Mutant(
        "expected squares about the wrong origin",
        "baselines/em_steps.py",
        "second = second + (origin * (origin + 2 * shift)).sum(-1) / d",
        "second = second + origin.sum(-1) * 0",
        ("tests/baselines/test_em_paths.py::test_a_spherical_variance_is_singular_where_update_says_so",),
        "what counts as singular, whatever the origin of the moments",
    ),
    Mutant(
        "shares without log det",
        "baselines/em_accurate.py",
        "joint = (tasks.weights.log() - half_log_det).unsqueeze(-1) - 0.5 * squares",
        "joint = tasks.weights.log().unsqueeze(-1) - 0.5 * squares",
        ("tests/baselines/test_em_paths.py::test_a_step_of_every_type_is_one_of_em",),
        "the reference of constructed layers",
    ),
    Mutant(
        "padding counts as points",
        "baselines/em_accurate.py",
        "shares = shares * tasks.real[:, None]",
        "shares = shares * tasks.real[:, None].any()",
        ("tests/baselines/test_em_padded_paths.py::test_a_padded_task_is_what_it_is_alone",),
        "tasks of different N in one batch",
    ),
    Mutant(
        "absent components take shares",
        "baselines/em_accurate.py",
        "return joint if tasks.present is None else joint.masked_fill(~tasks.present[..., None], -torch.inf)",
        "return joint",
        ("tests/baselines/test_em_padded_paths.py::test_an_absent_component_counts_nowhere",),
        "tasks of different K in one batch",
    ),
    Mutant(
        "the mean stays at its origin",
        "baselines/em_accurate.py",
        "means = origin + moments.first / moments.total.unsqueeze(-1)",
        "means = origin.clone()",
        (
            "tests/baselines/test_em_rounding.py::test_a_mean_near_zero_keeps_its_digits_beside_a_group_far_away",
        ),
        "the correction for the rounding of the origin",
    ),
    Mutant(
        "a lost task goes on",
        "baselines/em_paths.py",
        "state = state.replaced(defined[-1], Parameters(new.weights, new.means, new.covariances))",
        "state = Parameters(new.weights, new.means, new.covariances)",
        ("tests/baselines/test_em_paths.py::test_an_empty_component_marks_its_task_and_no_other",),
        "a lost task keeps its last state",
    ),
    Mutant(
        "a rounding bound without the error of shares",
        "baselines/em_rounding.py",
        "moved = torch.where(shares > 0, shares * off, 0.0) + FLUSHED",
        "moved = torch.where(shares > 0, shares * off, 0.0) * 0 + FLUSHED",
        ("tests/baselines/test_em_rounding.py::test_ill_conditioned_matrices_are_within_the_bound",),
        "the allowance for the reference",
    ),
)
