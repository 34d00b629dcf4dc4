"""Under which conditions does training from random weights find the theorem's weights?"""

from training.comparison.common.studies import Study
from training.comparison.finding.figures import NAMES
from training.comparison.finding.report import render
from training.comparison.finding.study import FindingResult, answer, pieces

STUDY = Study(
    key="finding",
    title="When does training find the theorem?",
    question="Under which conditions does training from random weights find the theorem's weights?",
    result=FindingResult,
    answer=answer,
    pieces=pieces,
    render=render,
    pictures=NAMES,
)
