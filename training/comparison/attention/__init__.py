"""Does attention weigh as the E step does?"""

from training.comparison.attention.figures import PICTURES
from training.comparison.attention.measure import AttentionResult, compute, refusal
from training.comparison.attention.report import render
from training.comparison.common.em_answers import components_of
from training.comparison.common.parts import Part

PART = Part(
    key="attention",
    title="Do heads attend by responsibility?",
    result=AttentionResult,
    compute=compute,
    render=render,
    pieces=lambda subject: 3 * len(components_of(subject)),
    pictures=PICTURES,
    refusal=refusal,
)
