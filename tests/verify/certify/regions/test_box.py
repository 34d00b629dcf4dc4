"""What a box may be, and how it is cut."""

import numpy as np
import pytest

from constructions.em.weights import em_construction
from verify.certify.regions.box import Box
from verify.certify.regions.intervals import Interval

GOOD = ([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]])


def test_halves_share_an_end_and_cover_the_box():
    box = Box.around(*GOOD, 0.1, weight_radius=0.01, mean_radius=0.2)
    assert box.shape == (2, 2, 2)
    assert len(box.ranges()) == 4 + 2 + 4
    for place in range(10):
        lower, upper = box.halves(place)
        cut = np.flatnonzero(lower.ranges() != box.ranges())
        assert cut.tolist() == [place]
        ends = [
            [
                np.concatenate([getattr(p, end).ravel() for p in (b.points, b.weights, b.means)])[place]
                for b in two
            ]
            for end, two in (("hi", (lower, upper)), ("lo", (lower, upper)))
        ]
        assert ends[0][0] == ends[1][1]
        assert ends[0][1] - ends[1][0] == pytest.approx(box.ranges()[place])


@pytest.mark.parametrize(
    ("arguments", "named", "says"),
    [
        (GOOD, {"radius": -1.0}, "radius is -1.0"),
        (GOOD, {"mean_radius": float("nan")}, "mean_radius is nan"),
        (GOOD, {"weight_radius": 0.5}, "weights reach down to"),
        (([[0.0]], [0.5, 0.5], [[0.0], [1.0]]), {}, "N >= K"),
        (([0.0, 1.0], [1.0], [[0.0]]), {}, "shapes are"),
        (([[np.inf], [0.0]], [1.0], [[0.0]]), {}, "points have an interval"),
        (([[0.0], [0.0]], [1.0], [[0.0, 1.0]]), {}, "shapes are"),
    ],
)
def test_what_is_no_box_is_named(arguments, named, says):
    with pytest.raises(ValueError, match=says):
        Box.around(*arguments, **named)


def test_an_empty_interval_is_no_box():
    box = Box.around(*GOOD)
    with pytest.raises(ValueError, match="means have an interval"):
        Box(box.points, box.weights, Interval(box.means.hi + 1, box.means.lo))


def test_hypotheses_of_the_construction_are_checked():
    box = Box.around(*GOOD, 0.1)
    assert box.check(em_construction(3, 4, 1, 8)).max_dim == 3
    with pytest.raises(ValueError, match="d is 2"):
        box.check(em_construction(1, 2, 1, 8))
    with pytest.raises(ValueError, match="K is 2"):
        box.check(em_construction(2, 1, 1, 8))
    with pytest.raises(ValueError, match=r"above the floor 0\.5 is needed"):
        box.check(em_construction(2, 2, 1, 8, floor=0.5))
    with pytest.raises(ValueError, match="radius is 1"):
        box.check(em_construction(2, 2, 1, 8, radius=1.0))
    with pytest.raises(TypeError, match="unit covariances"):
        box.check(em_construction(2, 2, 1, 8, covariance_type="diagonal"))
