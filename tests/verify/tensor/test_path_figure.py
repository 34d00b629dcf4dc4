"""The picture of runs: an iteration has its colour in every panel, and its name in the legend."""

from verify.tensor.path_figure import path_picture
from verify.tensor.rows import PathRow


def row(problem: str, form: str) -> PathRow:
    return PathRow(problem, 1, form, 1, 1, 1e-3, 1e-3, 1e-2, 10.0, 1, 0)


def test_a_problem_without_one_of_the_iterations():
    rows = [row("a", "rms"), row("b", "plain"), row("b", "rms")]
    figure = path_picture(rows, "").figure
    first, second = (
        {line.get_color() for line in axes.lines if len(line.get_xdata())} for axes in figure.axes[:2]
    )
    [found] = figure.legends
    names = dict(zip((text.get_text() for text in found.get_texts()), found.legend_handles, strict=True))
    rms, plain = (names[form].get_color() for form in ("rms", "plain"))
    assert (first, second) == ({rms}, {rms, plain})
    assert rms != plain
    assert list(names) == ["rms", "plain", "measured", "instance bound"]
