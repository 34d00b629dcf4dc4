"""Mutants of the bounds on one step of EM; one more, 2 pooled d R^2 of |mu|^2/2, went: it was not needed."""

from .mutant import Mutant

TABLE = "tests/constructions/em/test_em_bound_terms.py::test_every_term_of_lemma_6_is_the_one_of_its_table"
APRIORI = "tests/constructions/em/test_em_bound_terms.py::test_the_apriori_bound_is_the_one_of_lemma_3"

AT_A_POINT = (
    "tests/constructions/em/test_constructed_em_underflow.py"
    "::test_a_mean_that_is_a_point_up_to_less_than_rounding_keeps_its_bound"
)

EM_BOUNDS: tuple[Mutant, ...] = (
    Mutant(
        "a mean that is exact where its point is",
        "constructions/em/bounds.py",
        " + centre_error[:, :, None]",
        "",
        (AT_A_POINT,),
        "lemma 6, (vii): c times the distance that floats lose",
    ),
    Mutant(
        "exact responsibilities without rounding",
        "constructions/em/step_rounding.py",
        "        shares=shares,",
        "        shares=0 * shares,",
        (TABLE,),
        "lemma 6, (vii)",
    ),
    Mutant(
        "a-priori bound of twice the angle",
        "constructions/em/bounds.py",
        "(torch.tanh(rho / 4) + share)",
        "(torch.tanh(rho / 2) + share)",
        (APRIORI,),
        "lemma 3",
    ),
    Mutant(
        "copies of a mean that do not differ",
        "constructions/em/step_rounding.py",
        "+ (copies if data.refreshed else torch.zeros_like(norm))",
        "+ torch.zeros_like(norm)",
        (TABLE,),
        "after an M layer every token holds its own rounded copy",
    ),
    Mutant(
        "responsibilities without the rounding of a large logit",
        "constructions/em/step_rounding.py",
        "resp=soft + 2 * (u + u64) * reach,",
        "resp=soft,",
        (TABLE,),
        "lemma 6: the subtraction of the largest logit",
    ),
    Mutant(
        "logits without their biases",
        "constructions/em/step_rounding.py",
        "logit_size = absolute + biases + (",
        "logit_size = absolute + (",
        (TABLE,),
        "lemma 6: log pi and |mu|^2/2 are rounded too",
    ),
    Mutant(
        "sums that do not underflow",
        "constructions/em/step_rounding.py",
        "return 2 * (samples + 1) * torch.finfo(dtype).tiny",
        "return 0 * samples",
        (TABLE,),
        "lemma 6: responsibilities flushed to 0",
    ),
    Mutant(
        "a floor that underflow does not move",
        "constructions/em/step_rounding.py",
        "log_underflow = torch.log1p(underflow / em.floor)",
        "log_underflow = 0 * underflow",
        (TABLE,),
        "lemma 6: floors near the smallest normal number",
    ),
    Mutant(
        "misplaced mass of the floor alone",
        "constructions/em/bounds.py",
        "misplaced = data.samples * (em.floor + rounding.underflow) * rho.exp() / geometry.mass",
        "misplaced = data.samples * em.floor * rho.exp() / geometry.mass",
        (
            "tests/constructions/em/test_constructed_em_underflow.py::test_what_is_flushed_is_misplaced_as_what_the_floor_lifts_is",
        ),
        "lemma 3 with underflow",
    ),
)
