"""Which update rule does training find when it starts at the construction and beats EM?"""

from training.comparison.common.studies import Study
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule.figures import NAMES
from training.comparison.rule.measure import RuleResult, measure_rule, pieces
from training.comparison.rule.report import render
from training.comparison.rule.settings import settings_of

STUDY = Study(
    key="rule",
    title="What training finds when it beats EM",
    question="Which update rule does training find when it starts at the construction and beats EM?",
    result=RuleResult,
    answer=lambda effort, out, start: measure_rule(
        EMProblem(), settings_of(effort.quick, effort.seed), start
    ),
    pieces=lambda effort: pieces(settings_of(effort.quick, effort.seed)),
    render=render,
    pictures=NAMES,
)
