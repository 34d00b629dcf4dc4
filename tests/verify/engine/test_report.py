"""The last act of a command: files, a line, the exit code; and the folder, refused before the work."""

import dataclasses
import io

import pytest
from commands import strict_json
from matplotlib.figure import Figure
from rich.console import Console

from console.errors import BadInputError
from console.output import Picture
from verify.engine.report import Report

PAGE = "{{ settings }} and {{ more }} and {{ results.passed }}"


@pytest.fixture
def report(tmp_path):
    template = tmp_path / "page_of_a_test.html"
    template.write_text(PAGE)
    return Report(tmp_path / "out", "verify.test", ("one", "two"), {"seed": 1}, template)


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_results_page_and_exit_code(report, passed, code):
    console = Console(file=io.StringIO(), width=300)
    results = {"passed": passed, "settings": {"seed": 1, "steps": 2}}
    pictures = [Picture("one", "a caption", Figure())]
    assert report.write(console, results, pictures, {"more": "more"}) == code
    assert "results.json, 1 figure" in console.file.getvalue()
    found = strict_json(report.out / "results.json")
    assert (found["command"], found["run"], found["passed"]) == ("verify.test", {"seed": 1}, passed)
    assert (report.out / "index.html").read_text() == f"seed: 1\nsteps: 2 and more and {passed}"
    assert (report.out / "one.png").exists()


def test_a_folder_of_another_run_is_refused_before_the_work(report):
    report.write(Console(file=io.StringIO()), {"passed": True, "settings": {}}, [], {"more": ""})
    Report(report.out, "verify.test", ("one",), {"seed": 1}, report.template)
    with pytest.raises(BadInputError, match="holds a run of other settings"):
        Report(report.out, "verify.test", ("one",), {"seed": 2}, report.template)
    with pytest.raises(BadInputError, match="did not write"):
        Report(report.out, "verify.other", ("one",), {"seed": 1}, report.template)


def test_further_pages_are_written_named_and_removed_when_they_are_not_made(report):
    console, results = Console(file=io.StringIO(), width=300), {"passed": True, "settings": {}}
    paged = dataclasses.replace(report, pages=("more.html",))
    paged.write(console, results, [], {"more": ""}, {"more.html": "a page"})
    assert (report.out / "more.html").read_text() == "a page"
    assert "index.html, more.html, results.json" in console.file.getvalue()
    dataclasses.replace(report, pages=("more.html",)).write(console, results, [], {"more": ""})
    assert not (report.out / "more.html").exists()


def test_a_page_of_somebody_else_is_refused(report):
    report.out.mkdir()
    (report.out / "more.html").write_text("mine")
    with pytest.raises(BadInputError, match=r"holds more\.html, which verify\.test did not write"):
        dataclasses.replace(report, pages=("more.html",))
