"""Reference steps of tasks of different sizes in one batch: each is what it is alone."""

import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance

from baselines.em_paths import reference_path, reference_step
from baselines.em_rounding import reference_rounding
from baselines.gaussian import BY_COMPONENT

F64 = torch.float64
SIZES = (9, 20, 14)


def padded(kind, K=3, d=2, junk=torch.nan):
    """Arguments of `reference_step` for tasks of SIZES points, padded with `junk`, and the mask."""
    X = torch.full((len(SIZES), max(SIZES), d), junk, dtype=F64)
    starts = []
    for b, N in enumerate(SIZES):
        X[b, :N], start = instance(b, d, K, N, kind)
        starts.append(start)
    covariances = None if kind == "unit" else torch.stack([start.covariances for start in starts])
    weights, means = (torch.stack([getattr(s, name) for s in starts]) for name in ("weights", "means"))
    mask = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
    return (X, weights, means, covariances, kind), mask


def parts(found):
    values = found.weights, found.means, found.covariances
    return [part for part in values if part is not None]


def assert_within_both(one, other, of_one, of_other):
    """Two computations of one exact step differ by at most the sum of their bounds, in any order of sums."""
    assert all(values.isfinite().all() for values in parts(of_one) + parts(of_other))
    for mine, theirs, *limits in zip(*(parts(v) for v in (one, other, of_one, of_other)), strict=True):
        assert ((mine - theirs).abs() <= limits[0] + limits[1]).all()


def first(found, b, K=None, kind="unit"):
    """Task b of an update or a bound, its first K components, as a batch of one."""
    covariances = found.covariances
    if covariances is not None:
        covariances = covariances[b : b + 1, :K] if kind in BY_COMPONENT else covariances[b : b + 1]
    return type(found)(found.weights[b : b + 1, :K], found.means[b : b + 1, :K], covariances, *found[3:])


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("junk", [torch.nan, 1e300, 0.0])
def test_a_padded_task_is_what_it_is_alone(kind, junk):
    arguments, mask = padded(kind, junk=junk)
    new, bound = reference_step(*arguments, mask=mask), reference_rounding(*arguments, mask=mask)
    assert not (new.empty | new.singular).any()
    X, weights, means, covariances, _ = arguments
    for b, N in enumerate(SIZES):
        row = slice(b, b + 1)
        own = X[row, :N], weights[row], means[row], None if covariances is None else covariances[row], kind
        alone, of_alone = reference_step(*own), reference_rounding(*own)
        assert_within_both(first(new, b), alone, first(bound, b), of_alone)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_an_absent_component_counts_nowhere(kind):
    (X, weights, means, covariances, _), mask = padded(kind)
    weights, means = weights.clone(), means.clone()
    present = torch.ones(len(SIZES), 3, dtype=torch.bool)
    present[1, 2] = False
    weights[1, 2] = means[1, 2] = torch.nan
    if kind in BY_COMPONENT:
        covariances[1, 2] = torch.nan
    masks = {"mask": mask, "component_mask": present}
    new = reference_step(X, weights, means, covariances, kind, **masks)
    bound = reference_rounding(X, weights, means, covariances, kind, **masks)
    assert not (new.empty | new.singular).any()
    assert new.weights[1, 2] == 0
    assert new.means[1, 2].abs().max() == 0
    if kind in BY_COMPONENT:
        assert new.covariances[1, 2].abs().max() == 0
    of_two = None
    if covariances is not None:
        of_two = covariances[1:2, :2] if kind in BY_COMPONENT else covariances[1:2]
    own = X[1:2, : SIZES[1]], weights[1:2, :2], means[1:2, :2], of_two, kind
    alone, of_alone = reference_step(*own), reference_rounding(*own)
    assert_within_both(first(new, 1, 2, kind), alone, first(bound, 1, 2, kind), of_alone)
    path = reference_path(X, weights, means, 2, covariances, kind, **masks)
    assert path.defined.all()
    assert (path.weights[1, 1:, 2] == 0).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_masks_do_not_hide_an_empty_component(kind):
    (X, weights, means, covariances, _), mask = padded(kind)
    means = means.clone()
    means[0, 1] += 1e4
    new = reference_step(X, weights, means, covariances, kind, mask)
    assert new.empty.tolist() == [[False, True, False], [False] * 3, [False] * 3]


def wrong_arguments():
    X, weights, means = torch.zeros(2, 5, 1), torch.ones(2, 2), torch.zeros(2, 2, 1)
    at_fault = torch.ones(2, 5, dtype=torch.bool)
    at_fault[1] = False
    spoiled = X.clone()
    spoiled[0, 0] = torch.nan
    yield "covariance_type is 'round'", (X, weights, means, None, "round")
    yield "X and means have shapes", (X[0], weights, means)
    yield "X and means have shapes", (X, weights, means[:1])
    yield r"weights have shape \(2, 3\)", (X, torch.ones(2, 3), means)
    yield "covariances were given", (X, weights, means, weights)
    yield r"covariances have shape None, needs \(2, 2\)", (X, weights, means, None, "spherical")
    yield r"covariances have shape \(2, 2\), needs \(2,\)", (X, weights, means, weights, "tied_spherical")
    yield "mask is torch.float32", (X, weights, means, None, "unit", torch.ones(2, 5))
    yield r"mask is torch.bool of shape \(1, 5\)", (X, weights, means, None, "unit", at_fault[:1])
    yield r"mask\[1\] is False everywhere", (X, weights, means, None, "unit", at_fault)
    yield "component_mask is torch.bool", (X, weights, means, None, "unit", None, at_fault)
    yield r"X\[0, 0, 0\] is nan", (spoiled, weights, means)


@pytest.mark.parametrize(("message", "arguments"), list(wrong_arguments()))
def test_what_does_not_fit_is_refused(message, arguments):
    with pytest.raises(ValueError, match=message):
        reference_step(*arguments)


def test_a_path_of_no_steps_is_its_start_and_fewer_are_refused():
    (X, weights, means, covariances, kind), mask = padded("full")
    path = reference_path(X, weights, means, 0, covariances, kind, mask)
    assert path.defined.shape == (3, 0)
    assert torch.equal(path.covariances[:, 0], covariances)
    with pytest.raises(ValueError, match="steps is -1"):
        reference_path(X, weights, means, -1, covariances, kind, mask)
