"""Does the network adapt its work to how hard the task is?"""

from training.comparison.adaptation.measure import AdaptationResult, compute
from training.comparison.adaptation.report import render
from training.comparison.common.parts import Part
from training.comparison.common.regimes import component_regimes, refusal

PART = Part(
    key="adaptation",
    title="How many EM layers is the network worth?",
    result=AdaptationResult,
    compute=compute,
    render=render,
    pieces=lambda subject: len(component_regimes(subject)) + 1,
    pictures=("adaptation-error", "adaptation-distance", "adaptation-worth"),
    refusal=refusal,
)
