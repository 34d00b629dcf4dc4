"""Mistakes in the interpreter in balls, in the second reading, and in what rounding allows."""

from .mutant import Mutant

HERE = "verify/certify/network/"
TESTS = "tests/verify/certify/network/"
HINGES, FEED, ATTEND = (TESTS + f"test_{name}.py" for name in ("hinges", "feed", "attend"))
INTERPRETER, ROUNDING, AGREEMENT = (
    TESTS + f"test_{name}.py" for name in ("interpreter", "rounding", "agreement")
)
FORMULAS, FAULTS = (TESTS + f"test_{name}.py" for name in ("formulas", "faults"))
SECOND_READINGS = "tests/verify/engine/test_second_readings.py"

CERTIFIED_NETWORK: tuple[Mutant, ...] = (
    Mutant(
        "hinges that open to the left are not open at first",
        HERE + "hinges.py",
        "            a_sum, b_sum = a_sum + steeper, b_sum + higher\n            steeper, higher",
        "            steeper, higher",
        (HINGES,),
        "table and hinge sum are one function",
    ),
    Mutant(
        "a ball over knots takes its ends alone",
        HERE + "hinges.py",
        "        for value in self.values[first:last]:\n            found = found.union(arb(value))\n",
        "",
        (HINGES,),
        "the range of a function with a peak",
    ),
    Mutant(
        "the stream is not part of a column's own function",
        HERE + "feed.py",
        "1 if form == own else 0",
        "0",
        (FEED,),
        "what a hinge adds is added to something",
    ),
    Mutant(
        "the bias of a unit without reads is not cut at 0",
        HERE + "feed.py",
        "_exact(max(bias, 0.0))",
        "_exact(bias)",
        (FEED,),
        "units that are constant",
    ),
    Mutant(
        "a group of equal keys counts once",
        HERE + "attend.py",
        "sum((n * w for n, w in",
        "sum((w for n, w in",
        (ATTEND,),
        "several tokens with one key",
    ),
    Mutant(
        "equal values count once",
        HERE + "attend.py",
        "own[at] += ball if number == 1 else number * ball",
        "own[at] += ball",
        (ATTEND,),
        "several tokens with one key and one value",
    ),
    Mutant(
        "ReLU attention is not divided",
        HERE + "attend.py",
        "        if self.divide:",
        "        if False:",
        (ATTEND, INTERPRETER),
        "constructions that divide by the number of tokens",
    ),
    Mutant(
        "balls of one midpoint are one ball",
        HERE + "rows.py",
        "(*ball.mid().man_exp(), *ball.rad().man_exp())",
        "ball.mid().man_exp()",
        (TESTS + "test_rows.py",),
        "the wider of the two holds what the other does not",
    ),
    Mutant(
        "a gate is read with the sign of the value",
        HERE + "formulas.py",
        "((x, s), (e, part.bound))",
        "((x, s), (e, s * part.bound))",
        (FORMULAS, FAULTS),
        "the second reading of gates",
    ),
    Mutant(
        "units that are in no formula are no fault",
        HERE + "faults.py",
        'yield from (f"{what} {part} is in no formula" for part in theirs - ours)',
        "yield from ()",
        (FAULTS,),
        "a weight that should be 0",
    ),
    Mutant(
        "rounding of the scores does not reach the softmax",
        HERE + "rounding.py",
        "torch.expm1(error + form.u * gap + steps)",
        "torch.expm1(form.u * gap + steps)",
        (ROUNDING,),
        "what a score is off moves its weight by as much",
    ),
    Mutant(
        "each exp of the softmax is exact",
        HERE + "rounding.py",
        "steps = (N + 1) * (form.exp + form.u) / (1 - form.exp - form.u)",
        "steps = 0.0",
        (ROUNDING,),
        "the only assumption beyond IEEE arithmetic",
    ),
    Mutant(
        "arguments that are off are forgotten in a product",
        HERE + "rounding.py",
        "error = x.error @ y.size + x.size @ y.error + self.gamma(n)",
        "error = x.error @ y.size + self.gamma(n)",
        (ROUNDING,),
        "products of two computed numbers",
    ),
    Mutant(
        "what the runtime changes beside the written columns is not looked at",
        HERE + "agreement.py",
        "    looked_at = before != after\n",
        "    looked_at = torch.zeros_like(before, dtype=torch.bool)\n",
        (AGREEMENT,),
        "a runtime that writes elsewhere",
    ),
    Mutant(
        "the order of the layers is not compared",
        HERE + "agreement.py",
        "    if order != weights.sequence:",
        "    if False:",
        (AGREEMENT,),
        "loops within a pass",
    ),
    Mutant(
        "weights are not compared with the formulas",
        "verify/engine/second_readings.py",
        "    found = faults(formulas(weights), weights.to_transformer(dtype))",
        "    found = []",
        (SECOND_READINGS,),
        "a compile fault of 1e-9",
    ),
)
