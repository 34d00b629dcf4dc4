"""Which algorithm is the network nearest to?"""

from training.comparison.behaviour.measure import BehaviourResult, compute
from training.comparison.behaviour.report import render
from training.comparison.common.parts import Part
from training.comparison.common.regimes import all_regimes, refusal

PART = Part(
    key="behaviour",
    title="Which algorithm is the network nearest to?",
    result=BehaviourResult,
    compute=compute,
    render=render,
    pieces=lambda subject: len(all_regimes(subject)),
    pictures=("behaviour-steps", "behaviour-nearest", "behaviour-matrix", "behaviour-directions"),
    refusal=refusal,
)
