"""Mistakes in the language's loops, in the matrix machine and in the spectral construction."""

from .mutant import Mutant

LANGUAGE, MATRICES, HERE = "constructions/language/", "constructions/matrices/", "constructions/spectral/"
PROGRAM = "tests/constructions/language/test_program.py"
PLACE = "tests/constructions/language/test_place.py"
PRODUCTS = "tests/constructions/matrices/test_products.py"
RESULTS = "tests/constructions/spectral/test_spectral_results.py"
COMMAND = "tests/verify/spectral/test_spectral_command.py"

SPECTRAL: tuple[Mutant, ...] = (
    Mutant(
        "a loop is run once",
        LANGUAGE + "program.py",
        "numbers += flat(part.order) * part.times",
        "numbers += flat(part.order)",
        (PROGRAM,),
        "the word that a nested loop writes",
    ),
    Mutant(
        "a layer that stands at two places is stored twice",
        LANGUAGE + "program.py",
        "if known is layer:",
        "if False:",
        (PROGRAM,),
        "weights are shared",
    ),
    Mutant(
        "a vector is placed by its own entries",
        LANGUAGE + "gates.py",
        "gates = np.repeat(np.array(self.by.columns), q)",
        "gates = np.tile(np.array(self.by.columns), q)",
        (PLACE,),
        "by-major order of the outer product",
    ),
    Mutant(
        "a product is transposed",
        MATRICES + "products.py",
        "return linear_pair(score(A, ids), B, write, scale)",
        "return linear_pair(score(ids, A), B, write, scale)",
        (PRODUCTS,),
        "A B and not A^T B",
    ),
    Mutant(
        "the noise is added to the second moment",
        HERE + "moments.py",
        "scaled(s.id, s.sI, s.M2, -1.0)",
        "scaled(s.id, s.sI, s.M2, 1.0)",
        (RESULTS,),
        "M2 = E x x^T - s I",
    ),
    Mutant(
        "half of the noise is taken from the third moment",
        HERE + "third_moment.py",
        "asked = score(s.half, s.turned) + 2.0 * score(s.noise, s.turned)",
        "asked = score(s.half, s.turned) + score(s.noise, s.turned)",
        (RESULTS,),
        "two of its three terms stand for one token",
    ),
    Mutant(
        "what is found is added to T",
        HERE + "power.py",
        "times_transposed(s.entry, s.vv_pivot, s.lv, s.T_left, -1.0)",
        "times_transposed(s.entry, s.vv_pivot, s.lv, s.T_left, 1.0)",
        (RESULTS,),
        "deflation",
    ),
    Mutant(
        "the last start is chosen of those that tie",
        HERE + "power.py",
        "handicap = linear_pair(score(s.start, s.start), s.handicap, s.theta, -1.0)",
        "handicap = linear_pair(score(s.start, s.start), s.handicap, s.theta, 1.0)",
        ("tests/constructions/spectral/test_spectral_selection.py",),
        "the order of equal starts",
    ),
    Mutant(
        "a coordinate is at most the length, and so is its double",
        HERE + "exact.py",
        "reach = 2 * torch.maximum(",
        "reach = torch.maximum(",
        ("tests/constructions/spectral/test_spectral_stages.py",),
        "squares beyond their reach",
    ),
    Mutant(
        "what the baseline refuses is run",
        HERE + "hypotheses.py",
        "least <= resolution,",
        "least < -resolution,",
        ("tests/constructions/spectral/test_spectral_hypotheses.py",),
        "the baseline's status at the edge of rounding",
    ),
)
