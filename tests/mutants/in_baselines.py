"""Mutants of the reference algorithms, by which everything else is judged."""

from .mutant import Mutant

ALIGN = ("tests/baselines/test_alignment_and_metrics.py",)
STARTS = ("tests/baselines/test_starts.py",)
EM = ("tests/baselines/test_em_properties.py::test_small_responsibilities_count",)

BASELINES: tuple[Mutant, ...] = (
    Mutant(
        "alignment looks at means alone",
        "baselines/align.py",
        "return differences.square().mean(-1) + weight_gaps.square()",
        "return differences.square().mean(-1) + 0 * weight_gaps.square()",
        ALIGN,
        "every error of a method is taken after this alignment",
    ),
    Mutant(
        "alignment sums squares over features",
        "baselines/align.py",
        "return differences.square().mean(-1) + weight_gaps.square()",
        "return differences.square().sum(-1) + weight_gaps.square()",
        ALIGN,
        "the paper's error divides means by d, weights not",
    ),
    Mutant(
        "bad beside the median oracle",
        "baselines/metrics.py",
        "bad = error > 10 * oracle_error.double()",
        "bad = error > 10 * oracle_error.double().median()",
        ALIGN,
        "the share of bad tasks is in every table of methods",
    ),
    Mutant(
        "k-means++ by the distance",
        "baselines/starts.py",
        "mass = weight * nearest",
        "mass = weight * nearest.sqrt()",
        STARTS,
        "the starts of EM and k-means are k-means++ by name",
    ),
    Mutant(
        "greedy k-means++ of two trials",
        "baselines/starts.py",
        "5 + int(math.log(n_components))",
        "2 + int(math.log(n_components))",
        STARTS,
        "the share of tasks solved from one start was measured with five",
    ),
    Mutant(
        "normal starts about the centre of the data",
        "baselines/starts.py",
        "return draws - points.centre",
        "return draws",
        STARTS,
        "the paper starts EM from N(0, I) in the coordinates of the data",
    ),
    Mutant(
        "responsibilities below 1e-12 cut",
        "baselines/em_loop.py",
        "shares = torch.threshold_(shares, 8 * tiny, 0.0)",
        "shares = torch.threshold_(shares, 1e-12, 0.0)",
        EM,
        "a small component far from all points is decided by such shares",
    ),
)
