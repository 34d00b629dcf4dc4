"""The claims about Theorem 2 that hold exactly, for the ledger: all are "proved", none has a tolerance."""

from __future__ import annotations

import math
from fractions import Fraction

from constructions.tensor_power.relu import SOURCE
from verify.engine.record import Check, Record, proof
from verify.tensor.exact import ALL_CASES, growth_holds, piecewise_direction, rational_equality
from verify.tensor.layout import FORMS

NOTE = f"{SOURCE}; paper_notes/theorem_2_tensor_power.md"

LEAST_INSTANCES = 1000
DIRECTIONS = 2 * ALL_CASES
SYMBOLIC_SIZES = ((1, 1), (2, 2), (2, 3), (3, 3))
GROWTH = (Fraction(3, 2), Fraction(-2, 3), Fraction(5))
GROWTH_STEPS = (1, 2, 3, 4, 5)
RMS_DIMS = (1, 2, 3, 6)
GAIN_BOUND = 2.0**-52
"""A correctly rounded gain is off by the factor 1 + delta, |delta| <= 2^-53; its square by twice that."""


def check_rational(seed: int, instances: int) -> list[Record]:
    """Random instances in fractions, at least 1,000; the direction under the piecewise norm; the growth."""
    check = proof(NOTE, seed)
    outcome = rational_equality(max(LEAST_INSTANCES, instances), seed)
    counts = ", ".join(f"{form} {count}" for form, count in outcome.by_form.items())
    equal = _held(
        check,
        "random rational T, v: the layers equal v <- T(I, v, v) exactly at every step, d 1 to 6, L 1 to 4",
        outcome.counterexample,
        outcome.instances,
        f"{outcome.steps} steps, all real tokens compared; {counts}; {outcome.embeddings} dyadic embeddings",
    )
    check = proof(NOTE, seed)
    direction = _held(
        check,
        "the piecewise norm leaves an exact positive multiple of T(I, v, v), whatever its chords",
        piecewise_direction(DIRECTIONS, seed),
        DIRECTIONS,
        "pairs of heads, sum and mean; d 1 to 6, L 1 to 4",
    )
    check = proof(NOTE, seed)
    cases = [(scale, steps, form) for scale in GROWTH for steps in GROWTH_STEPS for form in FORMS]
    failed = [f"lambda = {case[0]}, L = {case[1]}, {case[2]}" for case in cases if not growth_holds(*case)]
    growth = _held(
        check,
        "T = lambda e1 x e1 x e1 and v = e1 give exactly lambda^(2^L - 1) e1",
        failed[0] if failed else None,
        len(cases),
        f"lambda = {', '.join(map(str, GROWTH))}; L 1 to {GROWTH_STEPS[-1]}",
    )
    return [equal, direction, growth]


def check_symbolic(seed: int, instances: int) -> list[Record]:
    """The step as an identity for all real T and v, by two routes; and the RMS norm."""
    from verify.tensor.symbolic import symbolic_identity  # loads sympy

    check = proof(NOTE, seed)
    cases = [(dim, max_dim, form) for dim, max_dim in SYMBOLIC_SIZES for form in FORMS]
    outcomes = [symbolic_identity(dim, form, max_dim) for dim, max_dim, form in cases]
    failed = [
        f"d = {d}, d0 = {d0}, {form}: at once {o.at_once}, by signs {o.patterns_held} of {o.patterns}"
        for (d, d0, form), o in zip(cases, outcomes, strict=True)
        if not o.held
    ]
    sizes = ", ".join(map(str, SYMBOLIC_SIZES))
    patterns = sum(outcome.patterns for outcome in outcomes)
    step = _held(
        check,
        "d = 1, 2, 3: one step is v <- T(I, v, v) for all real T and v, by (a + |a|)/2 and sign by sign",
        failed[0] if failed else None,
        len(cases),
        f"(d, d0) = {sizes}; 4 forms; {patterns} sign patterns; offset heads where |v_m s_j| <= B",
    )
    return [step, _rms_record(seed)]


def _rms_record(seed: int) -> Record:
    from verify.tensor.symbolic import rms_gain_error, rms_identity  # loads sympy

    check = proof(NOTE, seed)
    identity = all(rms_identity(dim) for dim in RMS_DIMS)
    errors = [rms_gain_error(dim) for dim in RMS_DIMS]
    largest = max((e for e in errors if e is not None), default=Fraction(0))
    valid = identity and None not in errors
    weights = "heads as without the norm" if valid else "not the heads without the norm, or no identity"
    return check.record(
        "the RMS norm gives w/|w| for the gain 1/sqrt(D); the stored gain g keeps |D g^2 - 1| <= 2^-52",
        GAIN_BOUND,
        float(largest) if valid else math.nan,
        len(RMS_DIMS),
        valid and largest <= Fraction(GAIN_BOUND),
        f"d = {', '.join(map(str, RMS_DIMS))}; float64 weights; {weights}",
    )


def _held(check: Check, claim: str, counterexample: str | None, instances: int, note: str) -> Record:
    """What holds without a tolerance; ``note`` where there is no counterexample."""
    held = counterexample is None
    return check.record(claim, 0.0, 0.0 if held else math.nan, instances, held, counterexample or note)
