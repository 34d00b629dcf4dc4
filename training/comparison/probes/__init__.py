"""What does the stream hold after each layer?"""

from training.comparison.common.parts import Part
from training.comparison.probes.figures import PICTURES
from training.comparison.probes.measure import ProbesResult, compute, numbers_of_components, refusal
from training.comparison.probes.report import render

PART = Part(
    key="probes",
    title="What each layer knows of each EM step",
    result=ProbesResult,
    compute=compute,
    render=render,
    pieces=lambda subject: 2 * len(numbers_of_components(subject)) + 1,
    pictures=PICTURES,
    refusal=refusal,
)
