"""The robust tensor power method: orthogonal tensors, Algorithm 1 and tensorly from the same starts."""

import numpy as np
import pytest
import tensorly.decomposition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_instances import eigen_tolerance, normal, orthogonal, seeded

from baselines.robust_tensor_power import contract, draw_starts, robust_tensor_power

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=40, deadline=None)


def assert_components(found, values, V, tolerances):
    """The pairs found are those of the tensor, in some order."""
    order = (found.eigenvectors @ V.mT).abs().argmax(-1)
    assert torch.equal(order.sort(-1).values, torch.arange(values.shape[-1]).expand(order.shape))
    expected = values.gather(-1, order)
    vectors = V.gather(-2, order.unsqueeze(-1).expand_as(found.eigenvectors))
    assert (found.eigenvalues - expected).abs().max() <= tolerances[0]
    assert (found.eigenvectors - vectors).norm(dim=-1).max() <= tolerances[1]


@FEW
@given(SEEDS, st.integers(1, 6), st.data())
def test_orthogonal_components_are_recovered(seed, d, data):
    K = data.draw(st.integers(1, d))
    values, V, T = orthogonal(seed, d, K, batch=(2,))
    found = robust_tensor_power(T, K, n_iter=40, generator=seeded(seed + 1))
    tolerances = eigen_tolerance(T, values)
    assert_components(found, values, V, tolerances)
    assert (found.moved <= tolerances[1]).all()
    assert not found.failed.any()


def test_more_components_than_the_rank_are_rounding():
    values, _, T = orthogonal(8, 5, 2)
    found = robust_tensor_power(T, 4, generator=seeded(9))
    limit = eigen_tolerance(T, values)[0]
    assert found.eigenvalues[2:].abs().max() <= limit
    order = found.eigenvalues[:2].argsort(descending=True)
    torch.testing.assert_close(found.eigenvalues[:2][order], values.sort(descending=True).values)


def algorithm_1(T, starts, n_iter):
    """Anandkumar et al. 2014, Algorithm 1, one tensor, numpy, one start after another."""
    values, vectors, moves = [], [], []
    for own in starts:
        best, best_value = None, -np.inf
        for v in own:
            for _ in range(n_iter):
                w = np.einsum("ijm,j,m->i", T, v, v)
                v = w / np.linalg.norm(w)
            value = np.einsum("ijm,i,j,m->", T, v, v, v)
            if value > best_value:
                best, best_value = v, value
        for _ in range(n_iter):
            w, before = np.einsum("ijm,j,m->i", T, best, best), best
            best = w / np.linalg.norm(w)
        value = np.einsum("ijm,i,j,m->", T, best, best, best)
        values.append(value)
        vectors.append(best)
        moves.append(np.linalg.norm(best - before))
        T = T - value * np.einsum("i,j,m->ijm", best, best, best)
    return np.array(values), np.array(vectors), np.array(moves)


@pytest.mark.parametrize("n_iter", [1, 2, 12])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_is_algorithm_1_step_by_step(n_iter, scale):
    """Symmetric tensors that are not orthogonal and steps too few to converge, so that every step shows."""
    A = normal(seeded(10), 3, 4, 4, 4)
    T = scale * sum(
        A.permute(0, *p) for p in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]
    )
    starts = normal(seeded(11), 3, 2, 5, 4)
    found = robust_tensor_power(T, 2, n_iter=n_iter, starts=starts)
    for task in range(3):
        values, vectors, moves = algorithm_1((T[task] / scale).numpy(), starts[task].numpy(), n_iter)
        np.testing.assert_allclose(found.eigenvalues[task].numpy() / scale, values, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.eigenvectors[task].numpy(), vectors, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.moved[task].numpy(), moves, rtol=0, atol=1e-9)
        alone = robust_tensor_power(T[task], 2, n_iter=n_iter, starts=starts[task])
        np.testing.assert_allclose(alone.eigenvalues.numpy() / scale, values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_same_starts_same_components_as_tensorly(noise, monkeypatch):
    """tensorly draws its starts in [0, 1)^d from numpy's global state; an iteration there is three steps."""
    monkeypatch.setattr(np.random, "random_sample", np.random.default_rng(12).random)
    starts = torch.from_numpy(np.random.default_rng(12).random((3, 4, 5)))
    _, _, T = orthogonal(13, 5, 3, least=1.0)
    A = normal(seeded(14), 5, 5, 5)
    T = T + noise * sum(
        A.permute(*p) for p in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    )
    values, vectors = tensorly.decomposition.symmetric_parafac_power_iteration(
        T.numpy(), rank=3, n_repeat=4, n_iteration=10
    )
    found = robust_tensor_power(T, 3, n_starts=4, n_iter=30, starts=starts)
    np.testing.assert_allclose(found.eigenvalues.numpy(), values, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.eigenvectors.numpy(), vectors.T, rtol=0, atol=1e-11)
    monkeypatch.setattr(np.random, "random_sample", np.random.default_rng(12).random)
    value, vector, rest = tensorly.decomposition.symmetric_power_iteration(
        T.numpy(), n_repeat=4, n_iteration=10
    )
    assert found.eigenvalues[0].item() == pytest.approx(value, abs=1e-11)
    first = found.eigenvectors[0]
    np.testing.assert_allclose(first.numpy(), vector, rtol=0, atol=1e-11)
    mine = T - found.eigenvalues[0] * torch.einsum("i,j,m->ijm", first, first, first)
    np.testing.assert_allclose(mine.numpy(), rest, rtol=0, atol=1e-10)


def test_eigenvalues_are_positive_whatever_the_sign_of_the_start():
    values, V, T = orthogonal(15, 3, 3)
    for sign in (1.0, -1.0):
        starts = sign * V.unsqueeze(-2)
        found = robust_tensor_power(T, 3, starts=starts)
        assert_components(found, values, V, eigen_tolerance(T, values))
        assert (found.eigenvalues > 0).all()
    negative = robust_tensor_power(-T, 3, starts=V.unsqueeze(-2))
    assert (negative.eigenvalues > 0).all()
    torch.testing.assert_close(negative.eigenvectors, -V, rtol=0, atol=1e-13)


def test_the_best_start_has_the_largest_value_not_the_largest_size():
    """T = x^3 - 3 x y^2 is cos 3t on the circle, and a step takes the angle t to -2 t.

    From 10 degrees a step ends at -20, value cos 60 = 1/2; from 30 at -60, value cos 180 = -1. The first is
    better, and one step further it is at 40, value cos 120 = -1/2.
    """
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[0, 0, 0], T[0, 1, 1], T[1, 0, 1], T[1, 1, 0] = 1, -1, -1, -1
    angles = torch.tensor([30.0, 10.0], dtype=torch.float64).deg2rad()
    starts = torch.stack([angles.cos(), angles.sin()], dim=-1)[None]
    found = robust_tensor_power(T, 1, n_iter=1, starts=starts)
    end = torch.tensor(40.0, dtype=torch.float64).deg2rad()
    torch.testing.assert_close(found.eigenvectors[0], torch.stack([end.cos(), end.sin()]))
    assert found.eigenvalues.item() == pytest.approx(-0.5)


def test_starts_are_uniform_directions_of_their_own():
    """Of 4,000 tasks with equal components each is found by a third, within 5 deviations sqrt(n 2/9)."""
    T = torch.zeros(4000, 3, 3, 3, dtype=torch.float64)
    T[:, 0, 0, 0] = T[:, 1, 1, 1] = T[:, 2, 2, 2] = 1.0
    found = robust_tensor_power(T, 1, n_starts=1, n_iter=40, generator=seeded(16))
    counts = found.eigenvectors[:, 0].round().sum(0)
    assert counts.sum() == 4000
    assert (counts - 4000 / 3).abs().max() <= 5 * (4000 * 2 / 9) ** 0.5
    again = robust_tensor_power(T, 1, n_starts=1, n_iter=40, generator=seeded(16))
    assert torch.equal(found.eigenvectors, again.eigenvectors)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_only_the_direction_of_a_start_counts(scale):
    values, V, T = orthogonal(19, 4, 4)
    starts = normal(seeded(20), 4, 6, 4)
    found = robust_tensor_power(T, 4, n_iter=40, starts=scale * starts)
    assert_components(found, values, V, eigen_tolerance(T, values))
    one = robust_tensor_power(T, 4, n_iter=1, starts=starts)
    other = robust_tensor_power(T, 4, n_iter=1, starts=scale * starts)
    torch.testing.assert_close(one.eigenvectors, other.eigenvectors, rtol=0, atol=1e-13)


def test_drawn_starts_are_unit_vectors():
    T = torch.zeros(5, 3, 3, 3, dtype=torch.float64)
    drawn = draw_starts(T.shape[:-3], 2, 7, 3, T, seeded(21), None)
    assert drawn.shape == (5, 2, 7, 3)
    torch.testing.assert_close(
        drawn.norm(dim=-1), torch.ones(5, 2, 7, dtype=torch.float64), rtol=1e-15, atol=0
    )
    assert len(drawn.reshape(-1, 3).unique(dim=0)) == 5 * 2 * 7


def test_a_tensor_without_a_component_fails_alone():
    values, V, T = orthogonal(17, 3, 3, batch=(4,))
    T[2] = 0
    T[3] = 0
    T[3, 0, 0, 0] = 2.0  # exactly rank 1: the second component is gone
    starts = torch.eye(3, dtype=torch.float64).reshape(1, 3, 3).expand(2, 3, 3)
    with pytest.raises(
        ValueError, match=r"0 from every start of component 0 of task \(2,\), needs"
    ) as caught:
        robust_tensor_power(T, 2, starts=starts)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"every start of component 1 of task \(0,\), needs a T of rank 2"):
        robust_tensor_power(T[3:], 2, starts=starts)
    marked = robust_tensor_power(T, 2, starts=starts, on_failure="mark")
    assert marked.failed.tolist() == [False, False, True, True]
    assert marked.eigenvalues[2].isnan().all()
    assert marked.eigenvectors[2].isnan().all()
    assert marked.eigenvalues[3, 0] == 2
    assert marked.eigenvectors[3, 0].tolist() == [1.0, 0.0, 0.0]
    assert marked.eigenvalues[3, 1].isnan()
    alone = robust_tensor_power(T[:2], 2, starts=starts)
    torch.testing.assert_close(alone.eigenvectors, marked.eigenvectors[:2], rtol=0, atol=1e-14)
    assert values.shape == (4, 3)
    assert V.shape == (4, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_tensor(dtype):
    values, _, T = orthogonal(18, 3, 2)
    found = robust_tensor_power(T.to(dtype), 2, generator=seeded(0))
    assert found.eigenvalues.dtype == found.eigenvectors.dtype == found.moved.dtype == dtype
    expected = values.sort(descending=True).values.to(dtype)
    torch.testing.assert_close(found.eigenvalues.sort(descending=True).values, expected)
    assert contract(T.to(dtype), T[0, 0].to(dtype)).dtype == dtype
