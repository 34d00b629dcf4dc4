"""Counts from the formulas are those of the compiled transformer, for every construction."""

import dataclasses

import pytest

from constructions.em.weights import em_construction
from constructions.language.assembly import Construction, Layer
from constructions.language.counts import Counts, count
from constructions.language.heads import SoftmaxHead
from constructions.language.resources import count_resources
from constructions.language.scores import dot
from constructions.language.stream import Stream
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.softmax import softmax_tensor_power_construction

TENSOR = {
    "pairs": {},
    "offset": {"offset": 1.0},
    "a large offset": {"offset": 1e6, "normalise": "rms"},
    "rms": {"normalise": "rms"},
    "piecewise": {"normalise": "piecewise", "pieces": 5, "norm_range": (1e-2, 1e1)},
    "mean": {"divide_by_tokens": True},
    "mean, offset, rms": {"divide_by_tokens": True, "offset": 0.25, "normalise": "rms"},
}
KINDS = ("tied_spherical", "spherical", "diagonal", "tied", "full")
MADE: dict[str, Construction] = {
    **{
        f"EM, {kind}": em_construction(2, 3, 2, 8, covariance_type=kind, eigenvalues=(0.1, 10.0)).construction
        for kind in KINDS
    },
    **{
        f"EM {shape}": em_construction(*shape).construction
        for shape in ((1, 1, 1, 1), (1, 2, 3, 4), (2, 3, 2, 16), (4, 3, 1, 100))
    },
    **{
        f"{name}, d <= {d}": tensor_power_construction(d, steps, **options).construction
        for name, options in TENSOR.items()
        for d, steps in ((1, 1), (2, 3), (5, 2))
    },
    **{
        f"softmax p = {p}, c = {c}, {normalise}, d <= {d}": softmax_tensor_power_construction(
            d, 2, 1e-2, p, c, normalise, bound=bound
        ).construction
        for p, c, normalise, d, bound in (
            *((1, 36.0, "rms", 1, None), (2, 15.75, "rms", 3, None), (8, 1.0, "none", 2, 100.0)),
            (3, 5.0, "none", 4, 0.5),
        )
    },
}


@pytest.mark.parametrize("name", list(MADE))
def test_counts_are_those_of_the_matrices(name):
    construction = MADE[name]
    found = count(construction)
    matrices = count_resources(construction.to_transformer())
    for field in dataclasses.fields(Counts):
        if field.name not in ("largest", "spectral_norm"):
            assert getattr(found, field.name) == getattr(matrices, field.name), field.name
    weights = [p.detach().abs().max() for p in construction.to_transformer().parameters()]
    assert found.largest == float(max(weights))
    assert found.spectral_norm == pytest.approx(max(norm for _, norm in matrices.norms.values()), rel=1e-9)


def test_loops_pass_more_layers_and_store_no_more():
    one, many = (count(tensor_power_construction(3, steps).construction) for steps in (1, 1000))
    assert (one.layers, many.layers) == (2, 2000)
    assert dataclasses.replace(many, layers=2) == one


def test_nothing_is_made_of_matrices_too_large_to_make():
    """About 2 10^14 numbers."""
    found = count(tensor_power_construction(1000, 1).construction)
    assert found.heads == 2000
    assert found.width == 1000**2 + 3 * 1000 + 2
    assert found.parameters > 4 * 2000 * 1000 * 10**6


def test_units_that_read_two_columns_alone_count_their_products(monkeypatch):
    """The products of the columns do not cancel: the norm is no longer that of the diagonal."""
    construction = softmax_tensor_power_construction(2, 1, 0.1).construction
    layer = construction.layers[1]
    pick = next(part for part in layer.mlp if any(len(u.second_reads) for u in part.units()))
    halves = [
        dataclasses.replace(u, gains=abs(u.gains), second_gains=abs(u.second_gains)) for u in pick.units()
    ]
    monkeypatch.setattr(type(pick), "units", lambda self: halves if self == pick else [])
    norms = count_resources(construction.to_transformer()).norms.values()
    assert count(construction).spectral_norm == pytest.approx(max(norm for _, norm in norms), rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "norm"), [(("a", "b"), ("c", "b"), 5.0), (("a", "b"), ("a", "c"), 4.0)]
)
def test_terms_that_share_a_column_add_up(first, second, norm):
    """Two terms on one key column: (3, 4) has length 5. On one query column: (1, 1), and the keys decide."""
    s = Stream(a=2, b=2, c=2, w=2)
    terms = [dot(getattr(s.query, q), getattr(s.key, k)) for q, k in (first, second)]
    layer = Layer("one", heads=(SoftmaxHead(3.0 * terms[0] + 4.0 * terms[1], read=s.b, write=s.w),))
    construction = Construction("shared", "none", s, inputs=(s.a, s.b, s.c), layers=(layer,), loops=1)
    matrices = count_resources(construction.to_transformer())
    assert count(construction).spectral_norm == pytest.approx(norm)
    assert max(size for _, size in matrices.norms.values()) == pytest.approx(norm)
