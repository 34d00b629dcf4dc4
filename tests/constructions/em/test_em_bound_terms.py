"""The terms of the bounds of one EM step, computed again from the note by plain loops over floats.

Both sides evaluate the same formulas with sums of at most a few hundred terms of one sign, in another order:
relative differences of 1e-12 are far above their rounding and far below any slip in a formula.
"""

import math

import pytest
import torch
from constructed_em import Task, construction, make_task, step_data
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import Pieces
from constructions.em.bounds import one_step_bound
from constructions.em.step_rounding import Rounding, step_rounding

CLOSE = {"rel": 1e-12, "abs": 0}
KINDS = ("mixture", "near-equal means", "far apart", "edge of the radius")


def gamma(n: float, u: float) -> float:
    return n * u / (1 - n * u)


def logits_at(task: Task, floor: float) -> list[list[float]]:
    """[i][k] the logits that the construction aims at."""
    X, pi, means = task.X.tolist(), task.weights.tolist(), task.means.tolist()
    return [
        [
            sum(a * b for a, b in zip(x, mu, strict=True))
            - sum(a * a for a in mu) / 2
            + math.log(max(p, floor))
            for p, mu in zip(pi, means, strict=True)
        ]
        for x in X
    ]


class Terms:
    """Lemma 6 for one task, as its table has it."""

    def __init__(self, em, task: Task, refreshed: bool, dtype: torch.dtype) -> None:
        X, pi, means = task.X.tolist(), task.weights.tolist(), task.means.tolist()
        N, K, d = len(X), len(pi), len(X[0])
        u, u64 = torch.finfo(dtype).eps / 2, 2.0**-53
        tiny, tiny64 = torch.finfo(dtype).tiny, 2.0**-1022
        logs = [abs(math.log(max(p, em.floor))) for p in pi]
        half = [sum(a * a for a in mu) / 2 for mu in means]
        biases = max(a + b + d * em.square.approximation_error / 2 for a, b in zip(logs, half, strict=True))
        norms = [math.hypot(*x) for x in X]
        largest, farthest_mean = max(norms), max(math.hypot(*mu) for mu in means)
        pooled = gamma(4 * N + 10, u) + 2 * u * math.log(1 / em.floor)
        self.underflow, self.reference_underflow = 2 * (N + 1) * tiny, 2 * (N + 1) * tiny64
        self.log_underflow = math.log1p(self.underflow / em.floor)
        logits, self.logits, self.resp, reference = logits_at(task, em.floor), [], [], []
        for x, norm, row in zip(X, norms, logits, strict=True):
            absolute = max(sum(abs(a * b) for a, b in zip(x, mu, strict=True)) for mu in means)
            reference.append(gamma(2 * d + 8, u64) * ((norm + 3 * farthest_mean) ** 2 / 2 + biases))
            own = gamma(d + 5, u) * (absolute + biases + math.log(math.ceil(N / K)))
            flushed = (2 * d + 10) * (tiny + tiny64)
            apart = 4 * pooled * largest + 4 * self.underflow * (math.sqrt(d) + largest)
            copies = apart * (norm + largest) + 4 * pooled + 4 * self.log_underflow
            self.logits.append(own + reference[-1] + flushed + (copies if refreshed else 0.0))
            reach = max(row) - min(row) + math.log(2)
            self.resp.append(gamma(4 * N + 10, u) + gamma(4 * N + 10, u64) + 2 * (u + u64) * reach)
        D = math.hypot(*(max(c) - min(c) for c in zip(*X, strict=True)))
        widest = max(max(row) - min(row) for row in logits) + math.log(2)
        self.shares = 2 * max(reference) + gamma(4 * N + 10, u64) + 4 * u64 * widest
        self.centre = (self.shares + N * tiny64) * D + gamma(4 * N + 10, u64) * largest
        self.pooling = pooled + gamma(4 * N + 10, u64) + 2 * max(reference)
        square, R = em.square, em.radius
        self.half_norm2 = (
            d * float(square.rounding_error(dtype)) / 2 + gamma(d * (square.units + 4), u) * d * R**2 / 2
        )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 30)),
    refreshed=st.booleans(),
    floor=st.sampled_from((1e-3, 1e-8, 1e-30, 1e-37)),
    dtype=st.sampled_from((torch.float64, torch.float32)),
)
def test_every_term_of_lemma_6_is_the_one_of_its_table(seed, kind, sizes, refreshed, floor, dtype) -> None:
    em = construction(3, 3, Pieces(16, 16, 16), floor)
    task = make_task(*sizes, seed, kind)
    data = step_data(task, refreshed)
    rows = torch.tensor(logits_at(task, floor), dtype=torch.float64)
    found = step_rounding(em, data, (rows.amax(1) - rows.amin(1))[None], dtype)
    expected = Terms(em, task, refreshed, dtype)
    assert found.logits.expand(1, len(task.X))[0].tolist() == pytest.approx(expected.logits, **CLOSE)
    assert found.resp.expand(1, len(task.X))[0].tolist() == pytest.approx(expected.resp, **CLOSE)
    names = ("pooling", "underflow", "reference_underflow", "log_underflow", "half_norm2", "shares", "centre")
    for name in names:
        assert float(getattr(found, name)) == pytest.approx(getattr(expected, name), **CLOSE), name
    assert found.log_resp == em.log_resp.rounding_error(dtype)
    assert found.log_pi == em.log_pi.rounding_error(dtype)


def apriori(em, task: Task, refreshed: bool, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """Lemma 3 with (iii), (v) and (vi) of lemma 6: the bounds of the means and of the weights."""
    terms = Terms(em, task, refreshed, dtype)
    X, N, d = task.X.tolist(), len(task.X), task.X.shape[1]
    S = 2 * max(terms.logits)
    if refreshed:
        S += em.log_pi.approximation_error + d * em.square.approximation_error / 2
        S += 2 * em.log_pi.rounding_error(dtype) + 2 * terms.half_norm2
    z = math.log(1 / em.floor) / em.pieces.log_resp
    y = z / math.expm1(z)
    e = y - 1 - math.log(y)
    soft = max(a + b for a, b in zip(terms.resp, terms.logits, strict=True))
    kappa, tau, tau64 = terms.log_underflow, terms.underflow, terms.reference_underflow
    rho = S + 2 * (soft + em.log_resp.rounding_error(dtype) + kappa) + e
    largest = max(math.hypot(*x) for x in X)
    D = math.hypot(*(max(c) - min(c) for c in zip(*X, strict=True)))
    entry = math.tanh(S / 4) + math.expm1(max(terms.resp))
    resp = torch.softmax(torch.tensor(logits_at(task, 0.0), dtype=torch.float64), 1)
    means, weights = [], []
    for W in resp.sum(0).tolist():
        b = N * (em.floor + tau) * math.exp(rho) / W
        s = tau64 / (W - tau64) if tau64 < W else math.inf
        lost = tau * (math.sqrt(d) + largest) + min(s * math.sqrt(d), largest + D) + D * min(s, 1)
        means.append(D * (math.tanh(rho / 4) + b / (1 + b)) + 2 * terms.pooling * largest + lost)
        weights.append(entry + terms.pooling * (W / N + entry) + 2 * tau + tau64)
    return means, weights


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 30)),
    refreshed=st.booleans(),
    floor=st.sampled_from((1e-3, 1e-8, 1e-30, 1e-37)),
    dtype=st.sampled_from((torch.float64, torch.float32)),
)
def test_the_apriori_bound_is_the_one_of_lemma_3(seed, kind, sizes, refreshed, floor, dtype) -> None:
    """Components with W_k of at least 1e-290, where the mass itself loses nothing."""
    em = construction(3, 3, Pieces(16, 16, 16), floor)
    task = make_task(*sizes, seed, kind, radius=6.0)
    found = one_step_bound(em, step_data(task, refreshed), dtype)
    means, weights = apriori(em, task, refreshed, dtype)
    for k, mass in enumerate((found.exact_weights[0] * len(task.X)).tolist()):
        if mass > 1e-290:
            # The exponents of w are rounded: a relative 1e-13 of W_k at logits of a few hundred.
            assert float(found.mean_apriori[0, k]) == pytest.approx(means[k], rel=1e-11)
            assert float(found.weight_apriori[0, k]) == pytest.approx(weights[k], rel=1e-11)


def test_exact_arithmetic_has_no_rounding() -> None:
    none = Rounding.none(step_data(make_task(2, 2, 5, 0), refreshed=True))
    assert all(float(torch.as_tensor(v).max()) == 0 for v in vars(none).values())
