"""Data sets in memory, in a file, as a Dask array: the same fits to the bit, and what is refused of them."""

import numpy as np
import pytest

from baselines.cutting import NUMBERS_A_PIECE, cut
from baselines.data_sets import InFile, data_sets, stored
from baselines.em_estimator import EMMixture
from baselines.rows import Rows


def data(n_sets=6, n_samples=20, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-5, 5, size=(n_sets, 2, 1, 3))
    return (centres + rng.normal(size=(n_sets, 2, n_samples // 2, 3))).reshape(n_sets, -1, 3).astype(dtype)


def in_file(path, values):
    found = np.memmap(path, values.dtype, "w+", shape=values.shape)
    found[...] = values
    found.flush()
    return np.memmap(path, values.dtype, "r", shape=values.shape)


def fits(X, **options):
    return EMMixture(2, random_state=0, **options).fit_many(X)


def same(one, other):
    parts = ("weights", "means", "covariances", "log_likelihood", "n_iter")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_file_gives_the_fits_of_the_array(tmp_path, dtype):
    X = data(dtype=dtype)
    found = fits(in_file(tmp_path / "X", X), covariance_type="full")
    assert found.means.dtype == dtype
    assert same(found, fits(X, covariance_type="full"))
    assert not same(found, fits(X[::-1], covariance_type="full"))


def test_a_part_of_a_file_is_read_from_where_it_stands(tmp_path):
    X = data(8)
    part = in_file(tmp_path / "X", X)[3:7]
    assert isinstance(data_sets(part, 2), InFile)
    assert same(fits(part), fits(X[3:7]))
    assert stored(in_file(tmp_path / "Y", X)[:, ::2]) is None  # not row-major: taken as an array


def test_a_dask_array_gives_the_fits_of_the_array():
    array = pytest.importorskip("dask.array")
    X = data(9)
    for chunks in ((4, 20, 3), (9, 7, 2)):
        assert same(fits(array.from_array(X, chunks=chunks)), fits(X))


@pytest.mark.parametrize("kind", ["file", "dask"])
def test_a_value_that_is_not_finite_is_named(tmp_path, kind):
    X = data()
    X[4, 7, 1] = np.nan
    if kind == "file":
        given = in_file(tmp_path / "X", X)
    else:
        given = pytest.importorskip("dask.array").from_array(X, chunks=(2, 20, 3))
    with pytest.raises(ValueError, match=r"X\[4, 7, 1\] is nan, needs finite values"):
        fits(given)


def test_a_file_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"X has shape \(5, 4\), needs \(B, N, d\)"):
        fits(in_file(tmp_path / "X", np.zeros((5, 4))))


@pytest.mark.parametrize("pads", [False, True])
def test_pieces_hold_every_set_once_and_at_most_so_many_numbers(pads):
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 20_000, size=300).tolist()
    counts = rng.integers(1, 4, size=300).tolist()
    found = list(cut(lengths, counts, 8, pads))
    assert sorted(place for piece in found for places in piece for place in places) == list(range(300))
    sizes = [[lengths[place] * 8 for places in piece for place in places] for piece in found]
    assert all(sum(one) <= NUMBERS_A_PIECE or len(one) == 1 for one in sizes)
    assert len(found) < 300


def test_rows_of_different_lengths_stand_where_their_places_say():
    rows = [np.arange(length, dtype=float) + length for length in (3, 0, 2, 4)]
    parts = [(range(2, 4), Rows(rows[2:])), ([1, 0], Rows([rows[1], rows[0]]))]
    found = Rows.placed(parts, 4)
    assert len(found) == 4
    assert all(np.array_equal(one, row) for one, row in zip(found, rows, strict=True))
    assert [row.tolist() for row in found[2:]] == [row.tolist() for row in rows[2:]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "file"])
def test_any_number_of_processes_gives_the_same_bits(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("baselines.cutting.NUMBERS_A_PIECE", 500)  # pieces of eight sets
    X = data(60)
    given = X if kind == "array" else in_file(tmp_path / "X", X)
    alone = EMMixture(2, random_state=3).fit_many(given)
    for n_jobs in (1, 2, 3):
        assert same(EMMixture(2, random_state=3).fit_many(given, n_jobs=n_jobs), alone)
