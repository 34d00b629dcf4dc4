"""Mistakes in the structured evaluation."""

from .mutant import Mutant

HERE = "constructions/language/structured/"
FRACTIONS = "tests/constructions/language/structured/test_structured_in_fractions.py"
PIECES = "tests/constructions/language/structured/test_piece_table.py"
PARTITIONS = "tests/constructions/language/structured/test_partitions.py"
EM = "tests/constructions/em/test_constructed_em_mutations.py::test_the_right_construction_passes"

STRUCTURED: tuple[Mutant, ...] = (
    Mutant(
        "softmax counts each class once",
        HERE + "arithmetic.py",
        ".exp() * self.whole(counts)",
        ".exp()",
        (EM,),
        "K does not divide N: slots have different numbers of tokens",
    ),
    Mutant(
        "ReLU counts each class once",
        HERE + "head_groups.py",
        "weights if counts is None else weights * self.arithmetic.whole(counts)",
        "weights",
        (FRACTIONS,),
        "classes of several tokens",
    ),
    Mutant(
        "opposite scales are a pair whatever the scores",
        HERE + "head_groups.py",
        "return one.scale == -other.scale and one.score == -other.score",
        "return one.scale == -other.scale",
        ("tests/constructions/language/structured/test_evaluation.py",),
        "two heads of one part that are no pair",
    ),
    Mutant(
        "no division by the number of tokens",
        HERE + "head_groups.py",
        "        if divide:",
        "        if False:",
        (FRACTIONS,),
        "a construction that divides",
    ),
    Mutant(
        "two partitions into classes are taken for one",
        HERE + "partitions.py",
        'found = partition if found.kind == "same" else self.each',
        "found = partition",
        (PARTITIONS, FRACTIONS),
        "blocks of different classes",
    ),
    Mutant(
        "padding makes equal tokens differ",
        HERE + "partitions.py",
        "alike = bool(((numbers == one) | ~mask[:, None]).all())",
        "alike = bool((numbers == one).all())",
        (PARTITIONS,),
        "NaN behind the mask",
    ),
    Mutant(
        "padding is counted",
        HERE + "partitions.py",
        "return counts.scatter_add_(1, labels, self.mask.to(torch.int64))",
        "return counts.scatter_add_(1, labels, torch.ones_like(labels))",
        (PARTITIONS,),
        "counts of real tokens",
    ),
    Mutant(
        "a knot belongs to the piece before it",
        HERE + "piece_table.py",
        "(x >= self.knot.index_select(0, at))",
        "(x > self.knot.index_select(0, at))",
        (PIECES,),
        "the piece at a knot",
    ),
    Mutant(
        "the line starts at the knot farther from the anchor",
        HERE + "piece_table.py",
        "near = np.where(ends < f.anchor, ends + 1, ends)",
        "near = np.where(ends < f.anchor, ends, ends + 1)",
        (PIECES,),
        "in real numbers the same line, but its rounding is larger than that of the hinges",
    ),
    Mutant(
        "classes without tokens are not emptied",
        HERE + "evaluation.py",
        "    if not partition.has_empty or partition.counts is None:",
        "    if True:",
        ("tests/constructions/language/structured/test_evaluation.py",),
        "0/0 behind a norm at padding",
    ),
    Mutant(
        "blocks stay where a part clears them",
        HERE + "evaluation.py",
        "for block, value in before.values.items() if block not in self._cleared",
        "for block, value in before.values.items()",
        (FRACTIONS, EM),
        "the next layer adds to what should be gone",
    ),
    Mutant(
        "the read-out takes every slot for one token",
        "constructions/language/readout.py",
        "shares = shares * counts[:, None].to(h.dtype)",
        "shares = shares * 1.0",
        ("tests/constructions/em/test_structured_em.py",),
        "weights of slots that are held by different numbers of tokens",
    ),
)
