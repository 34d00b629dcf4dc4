"""Sets of vectors: members stay members, and a contraction contracts."""

import numpy as np

from verify.certify.regions.intervals import Interval
from verify.certify.regions.zonotope import Zonotope


def member(z, rng, xi=None):
    xi = rng.uniform(-1, 1, z.generators.shape[1]) if xi is None else xi
    return z.centre + z.generators @ xi


def test_images_hold_the_images_of_members():
    rng = np.random.default_rng(0)
    for _ in range(50):
        z = Zonotope(rng.standard_normal(3), rng.standard_normal((3, 4)))
        middle = rng.standard_normal((3, 3))
        matrix = Interval(middle - 0.1, middle + 0.1)
        moved = Interval.exact(rng.standard_normal((3, 2)))
        image = z.mapped(matrix, moved, Interval.symmetric(np.full(3, 0.2))).hull()
        for _ in range(30):
            xi = rng.choice([-1.0, 1.0], 4)
            point = (middle + rng.choice([-0.1, 0.1], (3, 3))) @ member(z, rng, xi)
            point = point + moved.lo @ xi[:2] + rng.choice([-0.2, 0.2], 3)
            assert (image.lo - 1e-12 <= point).all()
            assert (point <= image.hi + 1e-12).all()


def test_what_turns_and_shrinks_does_not_grow():
    """Forty turns by 45 degrees that shrink by a tenth: boxes around boxes would grow by 1.27 a turn."""
    turn = 0.9 * np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    z = Zonotope.point(2).plus_box(Interval.symmetric(np.ones(2)))
    for _ in range(40):
        z = z.mapped(Interval.exact(turn))
    assert z.hull().size.max() < 1.5 * 0.9**40


def test_rows_that_are_wider_than_a_box_take_it():
    z = Zonotope(np.array([5.0, 1.0]), np.array([[4.0, 4.0], [1.0, 0.0]]))
    box = Interval(np.array([0.0, -9.0]), np.array([6.0, 9.0]))
    found = z.within(box)
    hull = found.hull()
    assert np.allclose(hull.lo, [0.0, 0.0])
    assert np.allclose(hull.hi, [6.0, 2.0])
    assert z.within(Interval(np.full(2, -99.0), np.full(2, 99.0))) is z


def test_a_point_is_0():
    hull = Zonotope.point(3).mapped(Interval.exact(np.ones((3, 3)))).hull()
    assert not hull.size.any()
