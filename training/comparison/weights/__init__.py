"""Are the learned weights the constructed ones, up to symmetry?"""

from training.comparison.common.parts import Part
from training.comparison.weights.measure import WeightsResult, compute, refusal
from training.comparison.weights.report import PICTURES, render

PART = Part(
    key="weight_space",
    title="Weights, modulo their symmetries",
    result=WeightsResult,
    compute=compute,
    render=render,
    pieces=lambda subject: 3,
    pictures=PICTURES,
    refusal=refusal,
)
