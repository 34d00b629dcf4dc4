"""Components of a tensor by deflation, and which end of several is taken."""

import pytest
import torch

from baselines.robust_tensor_power import robust_tensor_power
from verify.balls.flint import Undecided, arb, arb_mat, precision
from verify.certify.references.decisions import balls, dot
from verify.certify.references.power_method import components, largest, third_norm
from verify.certify.references.tensor_power import folded


def orthogonal(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """Nearly orthogonally decomposable: its components are found up to float64's rounding of T."""
    K = len(eigenvalues)
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(K, K, generator=g, dtype=torch.float64))[0]
    T = torch.einsum("k,ka,kb,kc->abc", torch.tensor(eigenvalues).double(), q, q, q)
    return sum(T.permute(p) for p in ((0, 1, 2), (1, 2, 0), (2, 0, 1))) / 3


def test_components_are_those_of_the_baseline_in_its_order():
    T = orthogonal([2.0, 1.5, 1.0])
    starts = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with precision(512):
        found = components(folded(balls(T.tolist())), balls(starts.tolist()), 3, 6, arb(1e-12))
    assert found is not None
    expected = robust_tensor_power(T, 3, n_iter=6, starts=starts.expand(3, 4, 3))
    for term, value, vector in zip(found, expected.eigenvalues, expected.eigenvectors, strict=True):
        # Components are orthogonal and eigenvalues 1/2 apart, up to rounding: the same one, or another.
        assert dot(term.vector, balls(vector.tolist())) > 0.5
        assert abs(term.eigenvalue - value.item()) < 0.25
        assert float(term.eigenvalue.rad()) < 1e-120


def test_a_tensor_that_is_used_up_has_no_more_components():
    """What is left of rank 2 after two terms is 1e-16 of it, below what is asked of an eigenvalue."""
    T = orthogonal([2.0, 1.5])
    whole = torch.zeros(3, 3, 3, dtype=torch.float64)
    whole[:2, :2, :2] = T
    starts = balls([[0.6, 0.3, 0.1], [0.1, 0.8, -0.2]])
    with precision(512):
        F = folded(balls(whole.tolist()))
        assert components(F, starts, 3, 8, arb(1e-12)) is None
        assert len(components(F, starts, 2, 8, arb(1e-12)) or []) == 2
        assert components(F * 0, starts, 1, 8, arb(0)) is None


def test_the_norm_counts_both_halves():
    T = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    T = sum(T.permute(p) for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
    with precision(128):
        # 27 squares, 26 sums and a root, each off by u of what it makes.
        norm = T.norm().item()
        assert abs(third_norm(folded(balls(T.tolist()))) - norm) < 28 * 2.0**-53 * norm


def test_a_winner_is_decided_shared_or_refused():
    one, other = [arb(1), arb(0)], [arb(0), arb(1)]
    assert largest([one, other], [arb(2), arb(1)]) == one
    assert largest([other, one], [arb(1), arb(2)]) == one
    with pytest.raises(Undecided):
        largest([one, other], [arb(2, 0.1), arb(2)])
    near = [arb(1.015, 0.02), arb(0.005, 0.01)]
    both = largest([one, near], [arb(2), arb(2)])
    assert all(x.contains(y) and x.contains(z) for x, y, z in zip(both, near, one, strict=True))


def test_starts_that_end_alike_need_no_decision():
    """On a line every start ends at the same vector, with the same score: no precision tells them apart."""
    with precision(128):
        found = components(arb_mat([[arb(-2)]]), balls([[0.1], [0.7], [-3.0]]), 1, 30, arb(0))
    assert found is not None
    assert found[0].vector[0].contains(-1)
    assert found[0].eigenvalue.contains(2)
