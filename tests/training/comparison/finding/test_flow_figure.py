"""The picture of the flow: its trajectories end on the hyperbola, and it says what it shows."""

import numpy as np
import pytest

from training.comparison.finding.flow_figure import APART, plane_figure
from training.comparison.finding.one_score import SymmetricTasks


@pytest.mark.slow
def test_trajectories_of_the_picture_end_at_the_marked_ends():
    picture = plane_figure(SymmetricTasks(np.array([[0.5, 1.0], [0.9, 0.2]]), np.array([0.8, 1.1])))
    plane, course = picture.figure.axes
    thin = [line for line in plane.lines if line.get_linewidth() == 0.8]
    ends = np.array([line.get_xydata()[-1] for line in thin])
    assert len(ends) == 32
    assert np.abs(ends[:, 0] * ends[:, 1] - 1).max() < 1e-2
    assert len(course.lines) == len(APART)
    assert "2 tasks of 2 points" in picture.caption
