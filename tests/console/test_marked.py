"""The check of legends, which every figure that a test draws goes through (tests/conftest.py), can fail."""

from marked import faults
from matplotlib.figure import Figure

from console.drawing import legend, legend_below, name_marks, slope_guide
from console.marks import INSTANCE, MEASURED


def drawn() -> Figure:
    figure = Figure(layout="constrained")
    panel = figure.subplots()
    panel.loglog([1, 2], [1, 2], **MEASURED.style("C0"))
    panel.loglog([1, 2], [2, 4], **INSTANCE.style("C0"))
    slope_guide(panel, [1, 2], 1, 0.5)
    name_marks(panel, {"means": "C0"}, (MEASURED, INSTANCE))
    return figure


def test_a_figure_whose_marks_all_have_a_name() -> None:
    figure = drawn()
    legend(figure, figure.axes)
    assert faults(figure) == []
    below = drawn()
    legend_below(below.axes[0], 2)
    assert faults(below) == []


def test_what_is_wrong_is_said() -> None:
    assert len(faults(drawn())) == 3
    inside = drawn()
    inside.axes[0].legend()
    assert faults(inside) == [": a legend inside the panel"]
    more = drawn()
    more.axes[0].plot([1, 2], [3, 3], "x:", color="C1")
    legend(more, more.axes)
    assert faults(more) == [": no name for ('#ff7f0e', 'x', ':')"]
    tall = drawn()
    for number in range(9):
        tall.axes[0].plot([1], [1], "o", color=f"C{number}", label=str(number))
    legend(tall, tall.axes, ncols=1)
    assert faults(tall) == ["a legend of 13 rows"]
