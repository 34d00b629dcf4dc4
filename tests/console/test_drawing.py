"""What is drawn is what was given."""

import math

import numpy as np
from matplotlib.figure import Figure

from console.drawing import band, error_bars, legend, number_heads, write_cells
from console.phrases import UNKNOWN, Interval

FOUND = [Interval(1.0, 0.5, 3.0), Interval(2.0, 1.5, 2.5)]


def test_error_bars_reach_from_low_to_high_either_way():
    one, other = Figure().subplots(1, 2)
    error_bars(one, [5, 6], FOUND, label="up")
    error_bars(other, [5, 6], FOUND, across=True)
    line, _, [bars] = one.containers[0]
    assert line.get_xydata().tolist() == [[5, 1], [6, 2]]
    assert [s.tolist() for s in bars.get_segments()] == [[[5, 0.5], [5, 3]], [[6, 1.5], [6, 2.5]]]
    line, _, [bars] = other.containers[0]
    assert line.get_xydata().tolist() == [[1, 5], [2, 6]]
    assert [s.tolist() for s in bars.get_segments()] == [[[0.5, 5], [3, 5]], [[1.5, 6], [2.5, 6]]]


def test_a_value_outside_its_interval_and_an_unknown_one_can_be_drawn():
    panel = Figure().subplots()
    error_bars(panel, [0, 1], [Interval(1.0, 1.5, 2.0), UNKNOWN])
    assert panel.containers[0][2][0].get_segments()[0].tolist() == [[0, 1], [0, 2]]


def test_a_band_is_between_low_and_high():
    panel = Figure().subplots()
    band(panel, FOUND, "C1", 0.2, label="b")
    assert panel.lines[0].get_xydata().tolist() == [[0, 1], [1, 2]]
    corners = panel.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners.tolist()} == {(0, 0.5), (1, 1.5), (1, 2.5), (0, 3)}


def test_one_legend_has_each_label_once():
    figure = Figure()
    panels = figure.subplots(1, 2)
    legend(figure, panels, 2)
    assert figure.legends == []
    for panel, names in zip(panels, ("ab", "bc"), strict=True):
        for name in names:
            panel.plot([0], [1], label=name)
    legend(figure, panels, 2, title="t")
    [found] = figure.legends
    assert [text.get_text() for text in found.get_texts()] == ["a", "b", "c"]
    assert found.get_title().get_text() == "t"


def test_cells_have_their_texts_and_the_unknown_have_none():
    panel = Figure().subplots()
    values = np.array([[0.1, 0.9], [math.nan, 0.5]])
    write_cells(panel, values, lambda i, j, value: f"{i}{j} {value:g}", lambda value: value > 0.6, 8)
    texts = [(t.get_position(), t.get_text(), t.get_color()) for t in panel.texts]
    assert texts == [
        ((0, 0), "00 0.1", "black"),
        ((1, 0), "01 0.9", "white"),
        ((1, 1), "11 0.5", "black"),
    ]
    number_heads(panel, 2, 3)
    assert [t.get_text() for t in panel.get_yticklabels()] == ["1", "2"]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["1", "2", "3"]
