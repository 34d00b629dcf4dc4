"""Step size and sink for a target error, from the two bounds of the note."""

import math

import pytest
import torch

from constructions.tensor_power.sinh_pairs import pair_weights
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import heads_for


@pytest.mark.parametrize(("dim", "pairs", "error"), [(1, 1, 1.0), (4, 2, 1e-3), (2, 8, 1e-9)])
def test_the_heads_for_an_error_give_each_part_half_the_error(dim, pairs, error):
    """Lemma 2: C eps^(2p) cosh(p eps), C = p!^2/(2p+1)!; lemma 3: 2 n kappa e^(2 p eps - c), met exactly."""
    heads = heads_for(error, dim, pairs)
    epsilon, sink = heads.epsilon, heads.sink
    constant = math.factorial(pairs) ** 2 / math.factorial(2 * pairs + 1)
    approximation = constant * epsilon ** (2 * pairs) * math.cosh(pairs * epsilon)
    assert 0.4 * error < approximation <= 0.5 * error or epsilon == 1
    kappa = float(sum(k * abs(alpha) for k, alpha in enumerate(pair_weights(pairs), 1)))
    assert 2 * dim * kappa * math.exp(2 * pairs * epsilon - sink) == pytest.approx(error / 2)


@pytest.mark.parametrize(("dim", "pairs", "error"), [(1, 1, 1e-1), (4, 2, 1e-3), (8, 3, 1e-6), (2, 8, 1e-9)])
def test_the_heads_for_an_error_keep_the_error_of_a_product_of_one(dim, pairs, error):
    """All entries of v equal to 1, T one unit entry: approximation and leakage as bounded for that step."""
    heads = heads_for(error, dim, pairs)
    epsilon, sink = heads.epsilon, heads.sink
    em = softmax_tensor_power_construction(dim, 1, epsilon, pairs, sink, "none", 4.0)
    T = torch.zeros(1, dim, dim, dim, dtype=torch.float64)
    T[0, 0, 0, 0] = 1
    found = em.one_step_error(T, torch.ones(1, dim, dtype=torch.float64), torch.float64)
    exact = float((found.approximation + found.leakage).max())
    assert 0.1 * error < exact <= error
