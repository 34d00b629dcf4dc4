"""EM layers of kinds other than unit behind the network: start, range of eigenvalues, masks, gradients."""

import math
from collections.abc import Iterator

import pytest
import torch
from model_instances import points, prefix_mask, small_model
from torch import Tensor

from baselines.em import em
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import start_covariances as start_of_baselines
from constructions.em.constructed import ConstructedEM
from training.model.estimate import Estimate
from training.model.polish import Polish
from training.model.polish_kinds import SHRINK, eigenvalue_ranges, eigenvalues, start_covariances
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.trainer.losses import log_joint

U = 2.0**-53
KINDS = ("tied_spherical", "spherical", "diagonal", "tied", "full")
KIND = pytest.mark.parametrize("kind", KINDS)
LENGTHS = (40, 25, 33)


def make_case(K: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """X (3, 40, 2), NaN at padding, log weights whose exponentials sum to 1, means, mask.

    Groups of deviations 1/2 to 3/2 along the axes, turned by 1 radian; the first task of half the size.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    B, N = len(LENGTHS), max(LENGTHS)
    centres = 3 * normal(B, K, 2)
    turn = torch.tensor([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]], dtype=torch.float64)
    labels = torch.arange(N).expand(B, N) % K
    X = (
        centres.gather(1, labels[:, :, None].expand(-1, -1, 2))
        + normal(B, N, 2) * torch.tensor([0.5, 1.5]) @ turn
    )
    sizes = torch.tensor([0.5, 1.0, 1.0], dtype=torch.float64)[:, None, None]
    mask = prefix_mask(N, *LENGTHS)
    candidates = (0.5 * normal(2000, K)).log_softmax(-1)
    exact = torch.nn.functional.pad(candidates.exp(), (0, 4 - K)).sum(-1) == 1
    means = sizes * (centres + 0.5 * normal(B, K, 2))
    return (sizes * X).masked_fill(~mask[:, :, None], torch.nan), candidates[exact][:B], means, mask


def emptied(X: Tensor, mask: Tensor) -> Tensor:
    """Zeros at padding."""
    return X.masked_fill(~mask[:, :, None], 0.0)


def tasks_one_by_one(polish: Polish, K: int) -> Iterator[tuple[ConstructedEM, int, Tensor, Tensor]]:
    """Layers, place, points and start covariances of every task of make_case."""
    X, _, means, mask = make_case(K)
    S = start_covariances(emptied(X, mask), means, mask, polish.covariance_type)
    found = eigenvalue_ranges(emptied(X, mask), S, mask, polish.covariance_type)
    for place in range(len(X)):
        own, radius = X[place, mask[place]], 8.0
        while radius < max(own.abs().max(), means[place].abs().max()):
            radius *= 2
        yield polish.construction(radius, *found[place].tolist()), place, own, S[place]


@KIND
@pytest.mark.parametrize(("K", "steps"), [(1, 1), (2, 3), (4, 2)])
@torch.no_grad()
def test_polish_is_the_construction(kind: str, K: int, steps: int) -> None:
    """ConstructedEM.run of every task alone. Both compute the same sums in batches of other shapes.

    Steps of EM near these starts stretch by less than 10, and a sum of 40 numbers below 2^10 rounds to 1e-11.
    """
    X, log_weights, means, mask = make_case(K)
    polish = Polish(2, 4, steps, 32, covariance_type=kind)
    found = polish(X, log_weights, means, mask)
    for layers, place, own, S in tasks_one_by_one(polish, K):
        run = layers.run(own, log_weights[place].exp(), means[place], S)
        assert bool(run.in_range.all())
        for one, other in ((found[0].exp(), run.weights), (found[1], run.means), (found[2], run.covariances)):
            torch.testing.assert_close(one[place], other, rtol=0, atol=1e-8)


@KIND
@torch.no_grad()
def test_finer_layers_are_em(kind: str) -> None:
    """The error falls with the square of the pieces: by 16 from 512 to 2048, and by 8 at least is asked."""
    X, log_weights, means, mask = make_case()
    S = start_covariances(emptied(X, mask), means, mask, kind)
    start = Mixture(log_weights.exp(), means, S.contiguous(), kind)
    expected = em(emptied(X, mask), init=start, max_iter=2, tol=0.0, sample_weight=mask.double()).mixture
    errors = []
    for pieces in (512, 2048):
        found = Polish(2, 3, 2, pieces, 1e-12, kind)(X, log_weights, means, mask)
        pairs = zip(found, (expected.weights.log(), expected.means, expected.covariances), strict=True)
        errors.append(max(float((one - other).abs().max()) for one, other in pairs))
    assert 8 * errors[1] <= errors[0] <= 1e-2


# --- where the covariances start ---------------------------------------------------------------------------


@KIND
def test_the_start_is_that_of_the_baselines(kind: str) -> None:
    """S is an average of at most 40 products of two differences of numbers up to R: 4 R^2 (40 + 10) u.

    Twice, as both are rounded, and twice again: baselines measures from the average and expands the squares.
    """
    X, _, means, mask = make_case()
    X = emptied(X, mask)
    cloud = prepare(X, mask.double(), None)
    expected = start_of_baselines(cloud, means - cloud.centre, kind)
    found = start_covariances(X, means, mask, kind)
    limit = 4 * 4 * float(torch.maximum(X.abs().max(), means.abs().max())) ** 2 * 50 * U
    torch.testing.assert_close(found, expected, rtol=0, atol=limit)
    for place, length in enumerate(LENGTHS):
        one = start_covariances(X[place : place + 1, :length], means[place : place + 1], None, kind)
        torch.testing.assert_close(one[0], found[place], rtol=0, atol=limit)


@KIND
def test_points_on_the_means_start_from_the_identity(kind: str) -> None:
    means = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]], dtype=torch.float64)
    found = start_covariances(means.repeat(1, 3, 1), means, None, kind)
    eye = {"diagonal": torch.ones(2, 2), "tied": torch.eye(2), "full": torch.eye(2).expand(2, 2, 2)}
    assert torch.equal(found[0], eye.get(kind, torch.ones(2 if kind == "spherical" else ())).double())


# --- the range of eigenvalues ------------------------------------------------------------------------------


@KIND
def test_em_stays_within_the_range(kind: str) -> None:
    """Thirty steps of EM: eigenvalues below 16/17 of the upper end, as proved; here above the lower too."""
    X, log_weights, means, mask = make_case(2)
    X = emptied(X, mask)
    S = start_covariances(X, means, mask, kind)
    low, high = eigenvalue_ranges(X, S, mask, kind).unbind(-1)
    assert torch.equal(low.log2(), low.log2().round())
    assert torch.equal(high.log2(), high.log2().round())
    least = eigenvalues(S, kind).amin(-1)
    assert ((2**SHRINK * low <= least) & (least < 2 ** (SHRINK + 1) * low)).all()
    current = Mixture(log_weights.exp(), means, S.contiguous(), kind)
    for _ in range(30):
        current = em(X, init=current, max_iter=1, tol=0.0, sample_weight=mask.double()).mixture
        found = eigenvalues(current.covariances, kind)
        assert (17 / 16 * found.amax(-1) <= high * (1 + 1e3 * U)).all()
        assert (found.amin(-1) >= low).all()


def test_padding_does_not_widen_the_range() -> None:
    """Points in [9, 10]^2 with zeros behind them, as the layers see a shorter task."""
    X = torch.zeros(1, 8, 2, dtype=torch.float64)
    X[0, :5] = 9 + torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]], dtype=torch.float64)
    S = torch.full((1, 2), 0.25, dtype=torch.float64)
    found = eigenvalue_ranges(X, S, prefix_mask(8, 5), "spherical")
    assert torch.equal(found, eigenvalue_ranges(X[:, :5], S, None, "spherical"))
    assert found.tolist() == [[0.25 / 2**SHRINK, 1.0]]  # 17/16 of |(1/2, 1/2)|^2


def test_means_far_from_the_points_widen_the_range() -> None:
    X = points(1, 9, 2)
    means = torch.tensor([[[100.0, 0.0], [0.0, 100.0]]], dtype=torch.float64)
    S = start_covariances(X, means, None, "full")
    low, high = eigenvalue_ranges(X, S, None, "full")[0]
    assert low <= torch.linalg.eigvalsh(S).min() <= torch.linalg.eigvalsh(S).max() <= high
    assert Polish(2, 2, 1, 32, covariance_type="full")(
        X, torch.zeros(1, 2).double() - math.log(2), means, None
    )


def shrinking_case() -> tuple[Tensor, Tensor, Tensor]:
    """Two tasks; in the second a component on 20 points of deviation 1/1000, which EM finds."""
    X = points(2, 60, 2)
    X[1, :20] = X[1, 0] + points(20, 2, seed=2) / 3000
    return X, torch.full((2, 2), 0.5, dtype=torch.float64).log(), torch.stack([X[:, 0], X[:, 40]], 1)


@pytest.mark.parametrize("kind", ["spherical", "diagonal", "full"])
@torch.no_grad()
def test_a_task_that_leaves_the_range_is_named(kind: str) -> None:
    """The other one is what it is alone, up to its 30 sums in another shape."""
    (X, log_weights, means), polish = shrinking_case(), Polish(2, 3, 30, 64, covariance_type=kind)
    with pytest.raises(
        ValueError, match=rf"{kind} covariances of task 1 leave the eigenvalues \[.*\] of its EM"
    ):
        polish(X, log_weights, means, None)
    found = polish.attempt(X, log_weights, means, None)
    assert found.steps[0] == 30
    assert 0 < found.steps[1] < 30
    values = eigenvalues(found.covariances, kind)
    assert (values.amin(-1) >= found.eigenvalues[:, 0]).all()
    assert (values.amax(-1) <= found.eigenvalues[:, 1]).all()
    alone = polish(X[:1], log_weights[:1], means[:1], None)
    for one, other in zip(found[:3], alone, strict=True):
        torch.testing.assert_close(one[:1], other, rtol=0, atol=1e-8)
    # the last step within is that of as many steps
    polish.steps = int(found.steps[1])
    shorter = polish(X, log_weights, means, None)
    for one, other in zip(found[:3], shorter, strict=True):
        torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["tied", "full"])
def test_matrices_need_more_points_than_coordinates(kind: str) -> None:
    polish = Polish(2, 3, 1, 8, covariance_type=kind)
    given = points(1, 2, 2), torch.full((1, 2), 0.5, dtype=torch.float64).log(), points(1, 2, 2, seed=3)
    with pytest.raises(ValueError, match=f"2 points, EM layers of {kind} covariances need more than d = 2"):
        polish(*given, None)


# --- masks, dtypes, gradients ------------------------------------------------------------------------------


@KIND
def test_gradients_are_finite_and_padding_changes_nothing(kind: str) -> None:
    """In float32 as in training, K = 3 of 4, what stands in padding NaN; and points in any places."""
    X, log_weights, means, mask = make_case()
    leaves = [part.float().requires_grad_() for part in (log_weights, means)]
    polish = Polish(2, 4, 2, 32, covariance_type=kind)
    found = polish(X.float(), *leaves, mask)
    assert all(part.dtype == torch.float32 for part in found)
    sum(part.sum() for part in found).backward()
    assert all(leaf.grad.isfinite().all() and leaf.grad.any() for leaf in leaves)
    order = torch.arange(X.shape[1]).flip(0)  # the padding in front: the points in the order of the flip
    other = polish(X.nan_to_num(7.0)[:, order].float(), *leaves, mask[:, order])
    for one, two in zip(found, other, strict=True):
        # Sums of 40 numbers below 2^7 in another order, twice: 2^7 40 2 u / (a mass above 1/40 of them).
        torch.testing.assert_close(one, two, rtol=0, atol=2**7 * 80 * 2.0**-24 * 2)


@KIND
def test_gradients_agree_with_finite_differences(kind: str) -> None:
    """D(h) = (f(h) - f(-h)) / 2h errs by c h^2, so D(h/2) by (D(h) - D(h/2)) / 3, and by rounding 2 E / h.

    E = 2^20 u |f|, |f| the sum of the sizes of its terms: a thousand operations one after the other at
    condition numbers up to a thousand. A kink of the pieces, or a point that changes its nearest mean, within
    h would make the limit large.
    """
    X, log_weights, means, mask = make_case()
    polish = Polish(2, 4, 2, 32, covariance_type=kind)
    g = torch.Generator().manual_seed(5)
    ways = [torch.randn(part.shape, generator=g, dtype=torch.float64) for part in (log_weights, means)]
    coefficients: list[Tensor] = []

    def terms(t: Tensor) -> Tensor:
        found = polish(X, log_weights + t * ways[0], means + t * ways[1], mask)
        if not coefficients:
            coefficients.extend(torch.rand(part.shape, generator=g, dtype=torch.float64) for part in found)
        return torch.cat([(c * part).flatten() for c, part in zip(coefficients, found, strict=True)])

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = terms(t)
    (exact,) = torch.autograd.grad(value.sum(), t)
    with torch.no_grad():
        h = 1e-4
        coarse, fine = (float((terms(t + s) - terms(t - s)).sum()) / (2 * s) for s in (h, h / 2))
    limit = abs(coarse - fine) + 3 * 2**20 * U * float(value.detach().abs().sum()) / h
    assert abs(float(exact) - fine) <= limit
    assert limit < 1e-2 * abs(float(exact))


# --- behind the network ------------------------------------------------------------------------------------


@KIND
@torch.no_grad()
def test_a_model_with_layers_of_a_kind_estimates_mixtures_of_it(kind: str) -> None:
    model = small_model(None, components=(2, 3)).with_polish(2, 32, kind)
    X, mask = points(3, 40, 2), prefix_mask(40, *LENGTHS)
    network, found = model.network(X, 3, mask), model(X, 3, mask)
    assert network.covariances is None
    direct = model.polish(X, network.log_weights, network.means, mask)
    for one, other in zip((found.log_weights, found.means, found.covariances), direct, strict=True):
        assert torch.equal(one, other)
    mixture = model.estimate(X, 3, mask)
    assert mixture.covariance_type == kind
    assert torch.equal(mixture.covariances, found.covariances)
    assert list(model.state_dict()) == list(model.with_polish(0).state_dict())
    assert model.with_polish(0).estimate(X, 3, mask).covariances is None
    single = model.float().estimate(X, 3, mask)  # symmetric enough for a Mixture
    assert single.means.dtype == torch.float64


def test_covariance_types_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="covariance_type is 'full', needs 'unit' without polish_steps"):
        TGMM(ModelConfig(2), covariance_type="full")
    for make in (
        lambda: TGMM(ModelConfig(2), 1, covariance_type="round"),
        lambda: Polish(2, 3, 1, 8, 1e-8, "round"),
    ):
        with pytest.raises(ValueError, match="covariance_type is 'round', needs one of unit, tied_spherical"):
            make()
    with pytest.raises(ValueError, match="polish_steps is 1, needs 0 for a model of diagonal covariances"):
        small_model({"covariance": "diagonal"}).with_polish(1, covariance_type="diagonal")


def test_the_losses_refuse_covariances_of_layers() -> None:
    X, S = points(1, 5, 2), torch.ones(1, 2, dtype=torch.float64)
    estimate = Estimate(S.log() - math.log(2), points(1, 2, 2), covariances=S)
    with pytest.raises(ValueError, match="the estimate has covariances of EM layers"):
        log_joint(estimate, X)
