"""Unit covariances: the layers, written out by hand, are those that are built; tokens too."""

import pytest
import torch

from constructions import Construction, EMConstruction, Layer, Score, SoftmaxHead, Stream, apply, clear, dot
from constructions.em.pieces import Pieces
from constructions.em.shared import floored_log
from constructions.em.weights import em_construction
from constructions.language import curves
from constructions.language.piecewise import chords, geometric, uniform

EM = em_construction(3, 4, 2, Pieces(17, 9, 13), 1e-6, 8.0)


def by_hand() -> Construction:
    """Theorem 1 as it stood before other covariances came, without a line of constructions.em."""
    d, K = 3, 4
    s = Stream(x=d, slot=K, mu=d, pi=K, log_pi=K, half_norm2=1, log_count=1, one=1, resp=K, log_resp=K)
    q, k = s.query, s.key
    log_resp, log_pi = (
        chords(curves.log, geometric(1e-6, 1.0, pieces), inputs=(0.0, 1.0)) for pieces in (17, 9)
    )
    square = chords(curves.square, uniform(-8.0, 8.0, 13), anchor=6)
    score = dot(q.x, k.mu) + dot(q.log_pi, k.slot) - k.half_norm2 - k.log_count
    e = Layer(
        "E",
        heads=(SoftmaxHead(score, read=s.slot, write=s.resp),),
        mlp=(
            apply(log_resp, read=s.resp, write=s.log_resp),
            clear(s.mu),
            clear(s.pi),
            clear(s.log_pi),
            clear(s.half_norm2),
        ),
    )
    m = Layer(
        "M",
        heads=(
            SoftmaxHead(dot(q.slot, k.log_resp), read=s.x, write=s.mu),
            SoftmaxHead(Score(), read=s.resp, write=s.pi),
        ),
        mlp=(
            apply(log_pi, read=s.pi, write=s.log_pi),
            apply(square, read=s.mu, write=s.half_norm2, scale=0.5),
            clear(s.resp),
            clear(s.log_resp),
        ),
    )
    inputs = (s.x, s.slot, s.mu, s.pi, s.log_pi, s.half_norm2, s.log_count, s.one)
    return Construction("by hand", "arXiv 2505.11918", s, inputs, (e, m), loops=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("looped", [True, False])
def test_the_weights_are_those_of_the_formulas_by_hand(dtype: torch.dtype, looped: bool) -> None:
    built, wanted = (c.to_transformer(dtype, looped=looped) for c in (EM, by_hand()))
    assert built.shape == wanted.shape
    found = built.state_dict()
    assert list(found) == list(wanted.state_dict())
    for name, weight in wanted.state_dict().items():
        assert torch.equal(found[name], weight), name
    assert EM.construction.inputs == by_hand().inputs


def test_unit_covariances_are_what_is_built_unless_told() -> None:
    named = em_construction(3, 4, 2, Pieces(17, 9, 13), 1e-6, 8.0, covariance_type="unit")
    assert isinstance(named, EMConstruction)
    assert (named.covariance_type, named.eigenvalues, named.e_place) == ("unit", None, 0)
    for name, weight in named.to_transformer().state_dict().items():
        assert torch.equal(weight, EM.to_transformer().state_dict()[name])


def test_a_run_has_no_covariances() -> None:
    X = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
    run = EM.run(X, torch.tensor([0.5, 0.5]).double(), X[:2])
    assert run.covariance_type == "unit"
    assert run.covariances is None
    assert run.path_covariances is None
    assert run.in_range is None


def test_the_tokens_hold_what_the_table_says() -> None:
    """Five points of two components: slots 0, 1, 0, 1, 0, of which 3 and 2 tokens hold one."""
    g = torch.Generator().manual_seed(0)
    X = torch.randn(5, 2, generator=g, dtype=torch.float64)
    weights = torch.tensor([0.25, 0.75]).double()
    h, s = EM.embed(EM.gather(X, weights, X[:2]))[0], EM.stream
    slots = torch.tensor([0, 1, 0, 1, 0])
    assert torch.equal(h[:, s.x.slice], torch.nn.functional.pad(X, (0, 1)))
    assert torch.equal(h[:, s.slot.slice], torch.eye(4, dtype=torch.float64)[slots])
    assert torch.equal(h[:, s.mu.slice], torch.nn.functional.pad(X[slots], (0, 1)))
    assert torch.equal(h[:, s.pi.slice], torch.nn.functional.pad(weights, (0, 2)).expand(5, 4))
    assert torch.equal(h[:, s.log_count.slice][:, 0], torch.tensor([3.0, 2.0]).double().log()[slots])
    # One square more or less of each of two numbers, a sum and a half: gamma_4.
    half = X.square().sum(1)[slots] / 2
    assert ((h[:, s.half_norm2.slice][:, 0] - half).abs() <= 4 * 2.0**-53 * half).all()
    assert (h[:, s.one.slice] == 1).all()
    assert h[:, s.resp.slice].count_nonzero() == h[:, s.log_resp.slice].count_nonzero() == 0


def test_the_log_is_held_below_the_floor() -> None:
    f = floored_log(1e-6, 17)
    x = torch.tensor([0.0, 1e-9, 1e-6, 1.0]).double()
    low = float(f(x[2:3]))
    assert f(x).tolist()[:3] == [low] * 3
    assert f(x).tolist()[3] == 0
