"""M steps of the restricted families: in the family, the best of it, and EM against one of its own."""

import math

import numpy as np
import pytest
import torch
from em_instances import instance, step_rounding
from scipy.optimize import minimize

from baselines.em import Status, em
from baselines.families import FAMILIES, family_of
from baselines.families.restrict import restricted
from baselines.mixture import Mixture

RESTRICTED = [family.name for family in FAMILIES if family.restricted]
ALTERNATING = ("VEI", "VEE", "VEV")
LEFT = 9 * np.finfo(np.float64).eps ** 0.5 / 64  # of a log volume, where moves shrink by r <= 0.9 a round
EPS = np.finfo(np.float64).eps


def scatters(seed, K, d, layout, batch=4):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, K, 3 * d, d, dtype=torch.float64, generator=generator)
    raw = raw * torch.rand(batch, K, 1, d, dtype=torch.float64, generator=generator).add(0.3)
    S = raw.mT @ raw / (3 * d)
    weights = torch.rand(batch, K, dtype=torch.float64, generator=generator) + 0.2
    weights /= weights.sum(-1, keepdim=True)
    return (S.diagonal(dim1=-2, dim2=-1).contiguous() if layout == "diagonal" else S), weights


def full(covariances, layout):
    return torch.diag_embed(covariances) if layout == "diagonal" else covariances


def objective(C, S, weights):
    """F = sum_k pi_k (log det C_k + tr(S_k C_k^-1))."""
    traces = torch.linalg.solve(C, S).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (weights * (torch.logdet(C) + traces)).sum(-1)


@pytest.mark.parametrize("name", RESTRICTED)
def test_volumes_shapes_and_orientations_are_common_where_the_letter_is_e(name):
    """Relative to the largest: eigenvalues of d = 3 matrices of condition below 1e3 round by some 1e3 eps."""
    layout = family_of(name).layout
    S, weights = scatters(1, 3, 3, layout)
    C = full(restricted(S, weights, name), layout)
    values, axes = torch.linalg.eigh(C)
    volumes = values.log().mean(-1).exp()
    shapes = values / volumes.unsqueeze(-1)
    if layout == "diagonal":
        shapes = C.diagonal(dim1=-2, dim2=-1) / volumes.unsqueeze(-1)
    common = {
        "volume": volumes.amax(-1) / volumes.amin(-1) - 1,
        "shape": (shapes - shapes[:, :1]).abs().amax((1, 2)),
    }
    for letter, spread in zip(name, common.values(), strict=False):
        assert (spread < 1e5 * EPS).all() if letter == "E" else (spread > 1e-3).all()
    turned = (axes[:, :1].mT @ axes).abs()
    same = (turned - torch.eye(3, dtype=torch.float64)).abs().amax((1, 2, 3))
    if name[2] == "E":
        assert (same < 1e-6).all()  # axes: rounding over the gap between eigenvalues
    if name[2] == "V":
        assert (same > 1e-3).all()


def from_parameters(raw, K, d, name):
    """Covariances (K, d, d) of a family from free numbers: logs of volumes and shapes, Cayley turns."""
    raw = torch.as_tensor(raw)
    take = iter(raw.split(1))

    def several(n):
        return torch.cat([next(take) for _ in range(n)]) if n else raw.new_zeros(0)

    def shape():
        free = several(d - 1)
        return torch.diag(torch.cat([free, -free.sum().reshape(1)]).exp())

    def turn():
        skew = raw.new_zeros(d, d)
        rows, columns = torch.triu_indices(d, d, 1)
        skew = skew.index_put((rows, columns), several(len(rows)))
        return torch.linalg.matrix_exp(skew - skew.mT)

    def parts(letter, make):
        if letter == "I":
            return [torch.eye(d, dtype=raw.dtype)] * K
        made = [make() for _ in range(1 if letter == "E" else K)]
        return made * K if letter == "E" else made

    volumes = parts(name[0], lambda: next(take).exp())
    shapes, turns = parts(name[1], shape), parts(name[2], turn)
    return torch.stack([v * D @ A @ D.mT for v, A, D in zip(volumes, shapes, turns, strict=True)])


def least_objective(S, weights, name, seed):
    """F by a quasi-Newton method over the free numbers, the least of three starts."""
    K, d = len(S), S.shape[-1]
    generator = np.random.default_rng(seed)

    def value(numbers):
        raw = torch.from_numpy(numbers).requires_grad_()
        F = objective(from_parameters(raw, K, d, name), S, weights)
        F.backward()
        return F.item(), raw.grad.numpy()

    size = K + K * (d - 1) + K * d * (d - 1) // 2
    found = [minimize(value, generator.normal(size=size) / 2, jac=True, method="BFGS") for _ in range(3)]
    return min(result.fun for result in found)


@pytest.mark.parametrize("name", RESTRICTED)
def test_no_other_covariances_of_the_family_are_better(name):
    """A quasi-Newton search over the family's own coordinates ends within 1e-6 above, nowhere below.

    F at our answer is off by (d / 2) LEFT^2, below eps, and by its own rounding, 100 eps F here; the search
    stops at gradients of 1e-5, so at curvatures of order 1 it is less than 1e-9 above its minimum.
    """
    layout = family_of(name).layout
    S, weights = scatters(2, 3, 2, layout, batch=1)
    ours = objective(full(restricted(S, weights, name), layout), full(S, layout), weights)[0].item()
    theirs = least_objective(full(S, layout)[0], weights[0], name, 0)
    assert -1e-6 < ours - theirs < 1000 * EPS * abs(ours)


def own_em(X, weights, means, variances, name, steps):
    """Log-likelihoods per point 0..steps of EM in numpy; its M step of VEI by Newton's method."""
    N = len(X)
    levels = []
    for step in range(steps + 1):
        logs = -0.5 * (
            ((X[:, None] - means) ** 2 / variances).sum(-1) + np.log(2 * math.pi * variances).sum(-1)
        ) + np.log(weights)
        peak = logs.max(1, keepdims=True)
        density = np.exp(logs - peak)
        levels.append(float((np.log(density.sum(1)) + peak[:, 0]).mean()))
        if step == steps:
            return levels
        shares = density / density.sum(1, keepdims=True)
        totals = shares.sum(0)
        weights, means = totals / N, shares.T @ X / totals[:, None]
        S = np.stack([share @ (X - mean) ** 2 for share, mean in zip(shares.T, means, strict=True)])
        S /= totals[:, None]
        variances = _own_evi(S, weights) if name == "EVI" else _own_vei(S, weights)
    return levels


def _own_evi(S, weights):
    volumes = np.prod(S, 1) ** (1 / S.shape[1])
    return S / volumes[:, None] * (weights @ volumes)


def _own_vei(S, weights):
    """F(a, b) = sum_k pi_k sum_j (a_k + b_j + S_kj exp(-a_k - b_j)): convex, flat along (1, -1) only."""
    K, d = S.shape

    def parts(z):
        return S * np.exp(-z[:K, None] - z[K:]) * weights[:, None]

    def value(z):
        return (weights * (d * z[:K] + z[K:].sum())).sum() + parts(z).sum()

    def gradient(z):
        E = parts(z)
        return np.concatenate([weights * d - E.sum(1), 1 - E.sum(0)])

    def hessian(z):
        E = parts(z)
        return np.block([[np.diag(E.sum(1)), E], [E.T, np.diag(E.sum(0))]])

    z = np.concatenate([np.log(S.mean(1)), np.zeros(d)])
    for _ in range(50):
        move = np.linalg.lstsq(hessian(z), -gradient(z), rcond=1e-10)[0]
        size = 1.0
        while value(z + size * move) > value(z) + 1e-14 * abs(value(z)) and size > 1e-3:
            size /= 2
        z = z + size * move
        if np.abs(move).max() < 1e-12:
            break
    return np.exp(z[:K, None] + z[K:])


@pytest.mark.parametrize("name", ["VEI", "EVI"])
def test_em_takes_the_steps_of_an_independent_em(name):
    """A covariance is off by LEFT, relatively, which moves a log-likelihood per point by (d / 2) LEFT.

    In T steps an error of one is not made larger here: EM contracts to the maximum near which it starts.
    """
    X, start = instance(7, 3, 4, 120, "diagonal")
    result = em(X, init=start, covariance_type=name, max_iter=6, tol=0.0)
    own = own_em(X.numpy(), start.weights.numpy(), start.means.numpy(), start.covariances.numpy(), name, 6)
    allowed = 6 * (3 / 2 * LEFT + step_rounding(X, start))
    np.testing.assert_allclose(result.history.numpy(), own, rtol=0, atol=allowed)
    assert allowed < 1e-5 < own[-1] - own[1]


@pytest.mark.parametrize("name", RESTRICTED)
def test_no_step_lowers_the_likelihood_from_within_the_family(name):
    """After the first step, which ends in the family: by rounding and by what the M step leaves at most."""
    layout = family_of(name).layout
    X, start = instance(3, 3, 3, 60, layout, batch=(5,))
    result = em(X, init=start, covariance_type=name, max_iter=30, tol=0.0)
    assert (result.status == Status.MAX_ITER).all()
    steps = result.history[:, 1:].diff(dim=-1)
    allowed = step_rounding(X, start, result.mixture) + 3 * LEFT**2
    assert steps.min() >= -allowed
    assert result.mixture.covariance_type == layout


def test_a_component_of_one_point_is_singular_only_where_its_own_shape_counts():
    """Two points far from thirty others: EEI pools, VEI gives the pair a volume; EVI has no shape for it."""
    generator = torch.Generator().manual_seed(0)
    crowd = torch.randn(30, 2, dtype=torch.float64, generator=generator)
    X = torch.cat([crowd, torch.tensor([[50.0, 0.0], [51.0, 0.0]], dtype=torch.float64)])
    means = torch.tensor([[0.0, 0.0], [50.5, 0.0]], dtype=torch.float64)
    start = Mixture(torch.tensor([0.9, 0.1], dtype=torch.float64), means, torch.ones_like(means), "diagonal")
    found = {name: em(X, init=start, covariance_type=name, max_iter=200) for name in ("EEI", "VEI", "EVI")}
    assert found["EEI"].status == found["VEI"].status == Status.CONVERGED
    assert (found["EVI"].status, found["EVI"].component) == (Status.SINGULAR, 1)
