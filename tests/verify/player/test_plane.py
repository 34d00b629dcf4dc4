"""Where points are drawn."""

import pytest
import torch

from verify.player.plane import plane_of, spread_heights

D = torch.float64


def test_two_coordinates_are_drawn_as_they_are_in_the_data():
    X, moved = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=D), torch.tensor([10.0, 20.0], dtype=D)
    plane = plane_of(X, ("a", "b"), moved)
    assert (plane.axes, plane.note) == (("a", "b"), "")
    assert plane.places(X).tolist() == [[11.0, 22.0], [13.0, 16.0]]


def test_a_line_is_drawn_along_the_first_direction_and_said_so():
    X = torch.tensor([[1.0], [3.0], [2.0]], dtype=D)
    plane = plane_of(X, ("a",), torch.tensor([5.0], dtype=D))
    places = spread_heights(plane.places(X))
    assert places[:, 0].tolist() == [6.0, 8.0, 7.0]
    assert len(set(places[:, 1].tolist())) == 3
    assert "says nothing" in plane.note


def test_more_coordinates_are_drawn_in_their_principal_axes():
    """Against the eigenvectors of the covariance, up to their signs.

    The variances of the five directions differ by factors of 2 and more, so the eigenvectors move by no more
    than about ``d N u`` times a small number: 1e-12 leaves a factor of 50.
    """
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(20, 5, generator=generator, dtype=D) * torch.tensor([3.0, 1.0, 5.0, 0.5, 2.0], dtype=D)
    plane = plane_of(X, [""] * 5, torch.zeros(5, dtype=D))
    apart = X - X.mean(0)
    variances, axes = torch.linalg.eigh(apart.mT @ apart)
    places = apart @ axes[:, [4, 3]]
    found = plane.places(X)
    signs = (found * places).sum(0).sign()
    assert found.numpy() == pytest.approx((places * signs).numpy(), abs=1e-12)
    assert f"{100 * variances[3:].sum() / variances.sum():.1f} % of their variance" in plane.note
    largest = plane.directions.gather(0, plane.directions.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())  # the same picture whatever signs the decomposition gave


@pytest.mark.parametrize("X", [torch.zeros(4, 3, dtype=D), torch.ones(1, 3, dtype=D)])
def test_points_without_spread_are_drawn_at_one_place(X):
    assert not plane_of(X, [""] * 3, torch.zeros(3, dtype=D)).places(X).any()
