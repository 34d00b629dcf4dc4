"""Mutants of the certificates of regions."""

from .mutant import Mutant

FOLDER = "verify/certify/regions/"
REGION = "tests/verify/certify/regions/test_region.py"
SOUND = REGION + "::test_no_task_of_the_box_is_farther"

REGIONS: tuple[Mutant, ...] = (
    Mutant(
        "sums of intervals that are not rounded outward",
        FOLDER + "intervals.py",
        "moved = np.where((a == 0) | (b == 0), total, np.nextafter(total, outward))",
        "moved = total",
        (
            "tests/verify/certify/regions/test_intervals.py::test_operations_hold_the_exact_results_at_all_ends",
        ),
        "every rounding is enclosed",
    ),
    Mutant(
        "an epsilon in the denominator of a softmax",
        FOLDER + "softmax.py",
        "    most = Interval.exact(u.hi) / (Interval.exact(u.hi) + Interval.exact(rest.lo))",
        "    most = Interval.exact(u.hi) / (Interval.exact(u.hi) + Interval.exact(rest.lo + 1e-12))",
        ("tests/verify/certify/regions/test_softmax.py::test_a_weight_of_small_scores_is_not_cut",),
        "what auto_LiRPA 0.3 does: the upper end of a weight is below the weight",
    ),
    Mutant(
        "an average whose threshold is the middle of the values",
        FOLDER + "softmax.py",
        "    hi = np.where(mass.lo > 0, np.minimum(found.hi, 0.0), 0.0).max(-1)",
        "    hi = np.where(mass.lo > 0, np.minimum(found.hi, 0.0), 0.0)[..., v.shape[-1] // 2]",
        ("tests/verify/certify/regions/test_softmax.py::test_optima_are_those_of_all_vertices",),
        "the optimum is at one of n + 1 thresholds",
    ),
    Mutant(
        "chords that err by their ends alone",
        FOLDER + "chords.py",
        "            low = min(low, float((value - slope * at + 1 + slope.log()).lower()))",
        "            pass",
        ("tests/verify/certify/regions/test_chords.py::test_ranges_hold_all_members_and_are_reached",),
        "the error of a chord is largest inside its piece",
    ),
    Mutant(
        "logits that the construction makes exactly",
        FOLDER + "path.py",
        "    errors = logs - squares * Interval.exact(0.5)",
        "    errors = Interval.exact(0.0) * (logs - squares)",
        (SOUND,),
        "d_l: the errors of log pi and of |mu|^2 / 2",
    ),
    Mutant(
        "states that do not move with the points",
        FOLDER + "path.py",
        "over.by_points() * Interval.exact(radius.ravel()[None])",
        "over.by_points() * Interval.exact(0 * radius.ravel()[None])",
        (SOUND,),
        "the exact path over the box",
    ),
    Mutant(
        "a derivative of EM without what a step inherits",
        FOLDER + "path.py",
        "        apart = apart.mapped(by_state, box=new.ravel())",
        "        apart = Zonotope.point(K * (1 + d)).mapped(by_state, box=new.ravel())",
        (SOUND,),
        "e_{t+1} = J e'_t + b_t",
    ),
    Mutant(
        "the better half of a box that is cut",
        FOLDER + "region.py",
        "        for half in worst.halves(place):",
        "        for half in worst.halves(place)[:1]:",
        (REGION + "::test_boxes_are_cut_until_the_target_or_the_budget_is_reached",),
        "all parts of a box are certified",
    ),
    Mutant(
        "a target that is not asked for",
        FOLDER + "region.py",
        "(target is None or bound <= target)",
        "(target is None or bound <= math.inf)",
        (REGION + "::test_boxes_are_cut_until_the_target_or_the_budget_is_reached",),
        "unknown is never certified",
    ),
)
