"""The picture of runs: an iteration has its colour in every panel, and its name in the legend."""

from verify.tensor.path_figure import path_picture
from verify.tensor.rows import PathRow


def row(problem: str, form: str) -> PathRow:
    return PathRow(problem, 1, form, 1, 1, 1e-3, 1e-3, 1e-2, 10.0, 1, 0)


def test_a_problem_without_one_of_the_iterations():
    rows = [row("a", "rms"), row("b", "plain"), row("b", "rms")]
    first, second = path_picture(rows, "").figure.axes[:2]
    colours = [{line.get_label(): line.get_color() for line in axes.lines} for axes in (first, second)]
    assert colours[0]["rms"] == colours[1]["rms"] != colours[1]["plain"]
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["rms", "plain"]
