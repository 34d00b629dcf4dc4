"""Mutants of choosing: families of covariances, criteria, standard errors, missing values and noise."""

from .mutant import Mutant

RESTRICT = "tests/baselines/families/test_restrict.py"

CHOOSING: tuple[Mutant, ...] = (
    Mutant(
        "VEI stops after one round",
        "baselines/families/restrict.py",
        "MOST_ROUNDS = 1000",
        "MOST_ROUNDS = 1",
        (f"{RESTRICT}::test_no_other_covariances_of_the_family_are_better",),
        "an M step that is not the best one is not EM",
    ),
    Mutant(
        "EVI averages volumes geometrically",
        "baselines/families/restrict.py",
        "common = torch.logsumexp(weights.log() + log_volumes, -1, keepdim=True)",
        "common = (weights * log_volumes).sum(-1, keepdim=True)",
        (f"{RESTRICT}::test_em_takes_the_steps_of_an_independent_em",),
        "the common volume is the average of the volumes",
    ),
    Mutant(
        "ICL without its factor",
        "baselines/choosing/select.py",
        "icl=bic - 2 * N * float(fits.log_certainty[place])",
        "icl=bic - N * float(fits.log_certainty[place])",
        ("tests/baselines/choosing/test_select.py::test_criteria_are_their_definitions",),
        "published figures of ICL have it",
    ),
    Mutant(
        "missing values without their covariance",
        "baselines/incomplete/conditional.py",
        '    second += torch.einsum("kp,pkij->kij", by_pattern, given.covariances)\n',
        "",
        (
            "tests/baselines/incomplete/test_conditional.py::test_one_step_is_that_of_a_computation_point_by_point",
        ),
        "without it imputed means make covariances too small",
    ),
    Mutant(
        "noise keeps the weight it began with",
        "baselines/incomplete/loop.py",
        "share = float(responsibilities[-1].sum() / total)",
        "share = noise",
        ("tests/baselines/incomplete/test_noise.py::test_one_step_is_that_of_a_computation_by_hand",),
        "its weight is estimated",
    ),
)
