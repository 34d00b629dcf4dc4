"""Which heads and values does the estimate depend on?"""

from training.comparison.attention.measure import refusal
from training.comparison.causal.figures import PICTURES
from training.comparison.causal.measure import CausalResult, compute
from training.comparison.causal.report import render
from training.comparison.common.em_answers import components_of
from training.comparison.common.parts import Part, Subject


def _pieces(subject: Subject) -> int:
    return (5 if subject.model.config.readout == "tokens" else 3) * len(components_of(subject))


PART = Part(
    key="causal",
    title="What happens when a step is replaced?",
    result=CausalResult,
    compute=compute,
    render=render,
    pieces=_pieces,
    pictures=PICTURES,
    refusal=refusal,
)
