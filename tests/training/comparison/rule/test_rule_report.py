"""The whole study in little, through disk, and what its report says of planted figures."""

import dataclasses
import json

import pytest

from console.phrases import Interval
from console.typed_json import from_plain, to_plain
from training.comparison.common.studies import StudyEffort
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule import STUDY
from training.comparison.rule.contest import OUTSIDE
from training.comparison.rule.measure import RuleResult, measure_rule, pieces
from training.comparison.rule.networks import train_network
from training.comparison.rule.report import paragraphs, render
from training.comparison.rule.settings import FITTED_NAME, QUICK, settings_of

FEW = dataclasses.replace(
    QUICK,
    training_steps=3,
    seeds=2,
    fitting_tasks=8,
    tasks=12,
    share_tasks=4,
    posterior_tasks=2,
    at_steps=(1, 2),
    long_steps=3,
)
SMALL = EMProblem(n_samples=12, pieces=4)


@pytest.fixture(scope="module")
def figures():
    started = []
    data = measure_rule(SMALL, FEW, started.append)
    assert len(started) == pieces(FEW)
    return from_plain(RuleResult, json.loads(json.dumps(to_plain(data))))


def test_every_method_and_network_is_there(figures):
    assert [one.seed for one in figures.networks] == [0, 1]
    assert len(figures.steps) == 6
    assert all(len(row.errors) == len(FEW.at_steps) for row in figures.steps)
    assert [len(row.errors) for row in figures.outside] == [6, 6, 5, 5, 6]  # networks take K = 3 only
    assert len(figures.outside) == len(OUTSIDE)
    assert figures.steps[0].less_em[0] == Interval(0, 0, 0)
    for network in figures.networks:
        names = [one.name for one in network.agreements]
        assert names[0] == "EM"
        assert names[-1] == f"the network of seed {1 - network.seed}"
        assert network.agreements[0].deviation == 0
        assert sum(part.share for part in network.shares.fair) == pytest.approx(1)
        assert sum(part.change**2 for part in network.shares.groups) == pytest.approx(1)


def test_the_section_has_every_picture_and_names_controls(figures):
    section = render(figures)
    assert [picture.name for picture in section.pictures] == list(STUDY.pictures)
    assert all(len(picture.caption) > 100 for picture in section.pictures)
    assert "control" in " ".join(row[1] for table in section.tables for row in table.rows)
    for table in section.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}


@pytest.mark.parametrize(("high", "said"), [(-0.1, "the rule beats EM"), (0.1, "the rule does not beat EM")])
def test_the_finding_follows_the_figures(figures, high, said):
    def changed(row):
        less = [Interval(-0.2, -0.3, high)] * len(row.less_em)
        return dataclasses.replace(row, less_em=less) if row.method == FITTED_NAME else row

    data = dataclasses.replace(figures, steps=[changed(row) for row in figures.steps])
    assert said in paragraphs(data)[0]


def test_the_study_is_plugged_in():
    effort = StudyEffort(quick=True, seed=3)
    assert STUDY.pieces(effort) == pieces(settings_of(True, 3))
    assert settings_of(False, 3).seeds > settings_of(True, 3).seeds == 1
    assert settings_of(True, 3).seed == 3


def test_a_training_that_broke_off_is_told():
    with pytest.raises(ValueError, match="the training of seed 0 at rate 1e\\+30 broke off"):
        train_network(SMALL, dataclasses.replace(FEW, rate=1e30, training_steps=5), 0)
