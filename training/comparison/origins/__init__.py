"""Does training from the construction stay, and does training from elsewhere arrive at it?"""

from training.comparison.common.parts import Part
from training.comparison.origins.figures import NAMES
from training.comparison.origins.measure import OriginsResult, compute, pieces, settings_of
from training.comparison.origins.report import render

PART = Part(
    key="origins",
    title="One architecture, two origins",
    result=OriginsResult,
    compute=compute,
    render=render,
    pieces=lambda subject: pieces(settings_of(subject)),
    pictures=NAMES,
)
