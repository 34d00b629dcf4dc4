"""Certificates of what the EM command measures, a record a step."""

from __future__ import annotations

from dataclasses import replace

from verify.em.covariance_theorem import EVERY_KIND
from verify.em.measure import Measurement
from verify.em.options import Options
from verify.em.theorem import THEOREM_1
from verify.engine.certificates import tasks_certified
from verify.engine.theorem import rounded

THEOREMS = {"unit": THEOREM_1, **{theorem.kind: theorem for theorem in EVERY_KIND}}


def with_certificates(m: Measurement, options: Options, finest: bool) -> Measurement:
    """The records with their certificates: where nothing was said, those of the finest weights alone."""
    d, K, N = m.problem.sizes
    certify = options.certify if finest or options.certify else False
    tasks = tasks_certified(certify, len(m.problem), d * K * N, m.run.steps)
    if not tasks:
        return m
    from verify.certify.rows import certificates, of_step  # python-flint, which not everybody has

    places = certificates(
        THEOREMS[m.em.covariance_type],
        m.em,
        rounded(m.problem, options.dtype),
        options.dtype,
        m.run.steps,
        tasks,
        options.evaluation,
        approximation=bool(options.certify),
    )
    return replace(m, records=[replace(r, certified=of_step(places, r.step)) for r in m.records])
