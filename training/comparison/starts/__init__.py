"""Is the constructed EM a better start for meta-training than random weights of the same shape?"""

from training.comparison.common.studies import Study
from training.comparison.starts.figures import NAMES
from training.comparison.starts.measure import StartsResult, answer, pieces
from training.comparison.starts.report import render

STUDY = Study(
    key="starts",
    title="The theorem as a start",
    question="Is the constructed EM a better start for meta-training than random weights of the same shape?",
    result=StartsResult,
    answer=answer,
    pieces=pieces,
    render=render,
    pictures=NAMES,
)
