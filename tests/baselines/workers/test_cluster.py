"""Dask clusters: addresses that are none, two workers, one of them killed, with and without a nanny."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import joblib
import pytest
from test_pieces import dies, squared, times_begun

from baselines.workers import choosing
from baselines.workers.choosing import using
from baselines.workers.computing import PieceLostError
from baselines.workers.pieces import run_in_order, run_pieces

SQUARES = {piece: piece * piece for piece in range(6)}


@contextmanager
def two_workers() -> Iterator[str]:
    """The address of a local cluster whose nannies start a worker that died again."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@contextmanager
def two_machines(tmp_path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers without nannies, each a process that nobody starts again."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    common = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ}
    command, asked = [sys.executable, "-m"], ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = [*command, "distributed.cli.dask_scheduler", "--port", "0", *asked]
    worker = [*command, "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", *asked]
    started = [subprocess.Popen(scheduler, **common)]  # noqa: S603 - our own words
    try:
        started += [subprocess.Popen(worker, **common) for _ in range(2)]  # noqa: S603
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_without_dask_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(
            ValueError, match=r"dask is 'tcp://x:1': the package distributed is not installed; pip"
        ),
        using(dask="tcp://x:1"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "nothing://x"])
def test_nobody_at_the_address_is_one_line(address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(choosing, "WAIT", 1)
    with pytest.raises(ValueError, match=f"dask is '{address}': no scheduler answers"), using(dask=address):
        pass


@pytest.mark.slow
def test_a_scheduler_without_workers_is_one_line(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(choosing, "WAIT", 2)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(ValueError, match="has no workers, needs one"),
        using(dask=cluster.scheduler_address),
    ):
        pass


@pytest.mark.slow
def test_two_workers_by_their_address_and_by_joblibs_context():
    distributed = pytest.importorskip("distributed")
    with two_workers() as address:
        with using(dask=address):
            found = dict(run_pieces(squared, range(6)))
        assert {piece: result for piece, (result, _) in found.items()} == SQUARES
        assert os.getpid() not in {process for _, process in found.values()}
        with distributed.Client(address), joblib.parallel_config("dask"):
            found = dict(run_in_order(squared, range(6)))
        assert {piece: result for piece, (result, _) in found.items()} == SQUARES
        assert os.getpid() not in {process for _, process in found.values()}


@pytest.mark.slow
def test_a_worker_is_killed_and_its_piece_computed_again(tmp_path):
    with two_workers() as address, using(dask=address):
        assert dict(run_pieces(partial(dies, tmp_path, 1), range(6))) == SQUARES
    assert times_begun(tmp_path)[2] == 2


@pytest.mark.slow
def test_a_piece_that_kills_all_workers_is_given_up_by_name(tmp_path):
    with (
        two_workers() as address,
        using(dask=address),
        pytest.raises(PieceLostError, match=r"piece 2 \(2\): the workers"),
    ):
        dict(run_pieces(partial(dies, tmp_path, 99), range(6)))


@pytest.mark.slow
def test_a_machine_that_leaves_for_good_is_not_waited_for(tmp_path):
    def slow_square(piece: int) -> int:  # a function of this test, which goes to the machines as it is
        time.sleep(0.2)
        return piece * piece

    with two_machines(tmp_path) as (address, workers), using(dask=address):
        results = run_pieces(slow_square, range(20))
        found = [next(results) for _ in range(4)]
        workers[0].send_signal(signal.SIGKILL)
        found += list(results)
    assert dict(found) == {piece: piece * piece for piece in range(20)}
