"""Does the network fail where EM fails?"""

from training.comparison.common.parts import Part
from training.comparison.common.regimes import refusal
from training.comparison.failures.measure import FailuresResult, compute, regimes_of
from training.comparison.failures.report import render

PART = Part(
    key="failures",
    title="Where does it fail?",
    result=FailuresResult,
    compute=compute,
    render=render,
    pieces=lambda subject: len(regimes_of(subject)) + 1,
    pictures=("failures-where", "failures-together", "failures-kinds"),
    refusal=refusal,
)
