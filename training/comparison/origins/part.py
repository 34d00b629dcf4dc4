"""The part "origins" of a comparison: its networks are its own, the same for every checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.comparison.common.parts import Part, Start, Subject
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.figures import NAMES
from training.comparison.origins.measure import OriginSettings, measure_origins, pieces
from training.comparison.origins.report import render

QUICK = OriginSettings(
    steps=60,
    random_steps=120,
    rates=(1e-4,),
    noises=(1e-3, 1e-2),
    truth_noises=(1e-2,),
    seeds=2,
    truth_seeds=1,
    random_seeds=1,
    tasks=64,
    curvature_tasks=8,
    eigenvalues=1,
    line_points=9,
    workers=1,
)


def settings_of(subject: Subject) -> OriginSettings:
    """How much is trained: a thousand steps and five seeds a size, or with --quick too little to conclude."""
    return replace(QUICK if subject.effort.quick else OriginSettings(), seed=subject.effort.seed)


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """See training.comparison.origins.measure."""
    return measure_origins(EMProblem(), settings_of(subject), start)


PART = Part(
    key="origins",
    title="One architecture, two origins",
    compute=compute,
    render=render,
    pieces=lambda subject: pieces(settings_of(subject)),
    pictures=NAMES,
)
