"""Several processes take the steps of one, share its micro-batches, and end together."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, Forker, preset, read_metrics, result, tiny_config, train

from training.tasks import draw, plan_step
from training.trainer import loop as trainer_module
from training.trainer.loop import StepResult, Trainer
from training.trainer.processes import Processes, joined

CPU = torch.device("cpu")
U = 2.0**-24  # unit roundoff of float32


class Meeting:
    """Where the threads that play processes add their tensors, in the order of their ranks."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=600)
        self.brought: dict[int, list[torch.Tensor]] = {}


@dataclass(frozen=True)
class Thread(Processes):
    """Processes whose sum is that of the threads of a meeting."""

    meeting: Meeting

    def sum(self, tensors) -> None:
        self.meeting.brought[self.rank] = [tensor.clone() for tensor in tensors]
        self.meeting.barrier.wait()
        for i, tensor in enumerate(tensors):
            tensor.zero_()
            for rank in range(self.count):
                tensor += self.meeting.brought[rank][i]
        self.meeting.barrier.wait()


def steps_of_threads(count: int, steps: int, **changes) -> list[tuple[list[StepResult], Trainer]]:
    """What each of `count` processes, played by threads, finds in its steps."""
    meeting = Meeting(count)
    found: dict[int, tuple[list[StepResult], Trainer]] = {}
    trainers = [Trainer(tiny_config(**changes), Thread(r, count, CPU, meeting)) for r in range(count)]

    def work(rank: int) -> None:
        try:
            found[rank] = ([trainers[rank].take_step() for _ in range(steps)], trainers[rank])
        except BaseException:
            meeting.barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(count)]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_two_processes_with_a_micro_batch_each_are_one_to_the_bit(optimiser):
    """One process has (0 + g0) + g1, two have (0 + g0) + (0 + g1): 0 + g is g, and IEEE addition commutes."""
    changes = {"optimiser": optimiser, "micro_batches": 2}
    alone = Trainer(tiny_config(training=changes), Processes(0, 1, CPU))
    results = [alone.take_step() for _ in range(4)]
    for found, trainer in steps_of_threads(2, 4, training=changes):
        assert found == results
        assert all(torch.equal(trainer.state()[name], value) for name, value in alone.state().items())


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gradients_of_several_processes_differ_by_the_order_of_a_sum(count):
    """Of m = 4 terms. Each order is within gamma_3 sum |g_i| of the exact sum, gamma_n = n U / (1 - n U).

    (Higham, Accuracy and Stability of Numerical Algorithms, 4.2; adding zeros is exact.) All processes have
    the same gradient to the bit. The reference is the exact sum, as float64 has it: four float32 of which
    none is 2^27 times another add in it without an error that would count beside U.
    """
    changes = {"micro_batches": 4, "clip": 1e30}
    alone = Trainer(tiny_config(training=changes), Processes(0, 1, CPU))
    config = alone.config
    exact = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in alone.parameters.items()}
    size = {name: torch.zeros_like(value) for name, value in exact.items()}
    for micro in plan_step(config.tasks, 4, 4, 0, 0):
        loss = alone.losses(draw(config.tasks, micro)).sum() / 4
        parts = torch.autograd.grad(loss, list(alone.parameters.values()), allow_unused=True)
        for name, part in zip(exact, parts, strict=True):
            if part is not None:
                exact[name] += part.double()
                size[name] += part.double().abs()
    gamma = 3 * U / (1 - 3 * U)
    outcomes = steps_of_threads(count, 1, training=changes)
    for results, trainer in outcomes:
        assert results == outcomes[0][0]
        for name, parameter in trainer.parameters.items():
            assert parameter.grad is not None
            apart = (parameter.grad.double() - exact[name]).abs()
            # 4 x 2^-53 for the float64 sums of the reference itself
            assert bool((apart <= (gamma + 4 * 2.0**-53) * size[name]).all()), name
            first = outcomes[0][1].parameters[name].grad
            assert first is not None
            assert torch.equal(parameter.grad, first)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_micro_batch_is_taken_by_exactly_one_process(count, monkeypatch):
    """Three steps; a fifth process has nothing to do and takes part in the sum."""
    drawn, lock = [], threading.Lock()

    def noting(tasks, micro, *, device):
        with lock:
            drawn.append(micro)
        return draw(tasks, micro, device=device)

    monkeypatch.setattr(trainer_module, "draw", noting)
    steps_of_threads(count, 3, training={"micro_batches": 4})
    tasks = tiny_config().tasks
    planned = [micro for step in range(3) for micro in plan_step(tasks, 4, 4, 0, step)]
    assert sorted(drawn, key=lambda micro: micro.seed) == sorted(planned, key=lambda micro: micro.seed)


def test_a_stop_of_one_is_a_stop_of_all():
    meeting = Meeting(3)
    shares = {"tasks_per_step": 6, "micro_batches": 3}
    trainers = [Trainer(tiny_config(training=shares), Thread(r, 3, CPU, meeting)) for r in range(3)]
    results: dict[int, StepResult] = {}

    def work(rank: int) -> None:
        results[rank] = trainers[rank].take_step(lambda: rank == 2)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[rank].stop for rank in range(3)] == [True, True, True]
    assert not any(results[0].stop for results, _ in steps_of_threads(3, 1, training=shares))


def test_alone_without_torchrun(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as processes:
        assert processes == Processes(0, 1, CPU)
        assert processes.first
        kept = torch.tensor([1.0, 2.0])
        processes.sum([kept])
        processes.wait()
        assert kept.tolist() == [1.0, 2.0]
    assert not torch.distributed.is_initialized()


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("foo", "cuda:0", "cuda", ""):
        message = f"--device {device}: it is auto, cpu, or cuda where there is a GPU"
        with pytest.raises(ValueError, match=f"^{message}$"), joined(device):
            pytest.fail(f"joined {device}")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_processes_than_gpus(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"^LOCAL_RANK is 2, needs less than 2,"), joined(device):
        pytest.fail("joined")


# Real processes, joined by gloo


def undisturbed(folder: Path, **changes: dict) -> tuple[Path, tuple]:
    """A preset in the folder, and the result of one process."""
    path = preset(folder, **changes)
    outcome = train("--preset", path, "--out", folder / "alone")
    assert outcome.code == 0, outcome.err
    return path, result(folder / "alone")


def test_two_processes_by_gloo_are_one_to_the_bit(forker: Forker, tmp_path):
    path, expected = undisturbed(tmp_path)
    out, log = tmp_path / "out", tmp_path / "log"
    assert forker.run(log, "--preset", path, "--out", out, processes=2) == [0, 0], log.read_text()
    assert result(out) == expected
    assert json.loads((out / "model.json").read_text())["training"]["processes"] == 2
    assert log.read_text().count("wrote ") == 1  # only the first says anything


def test_three_processes_by_gloo_differ_by_the_order_of_a_sum(forker: Forker, tmp_path):
    """The loss of the first step: m = 4 positive terms, so 2 gamma_3 of the loss between any two orders."""
    path, (_, expected) = undisturbed(tmp_path, training={"micro_batches": 4, "log_every": 1, "steps": 1})
    out, log = tmp_path / "out", tmp_path / "log"
    assert forker.run(log, "--preset", path, "--out", out, processes=3) == [0, 0, 0], log.read_text()
    found = read_metrics(out / "metrics.jsonl")
    assert found[0]["step"] == expected[0]["step"] == 1
    assert abs(found[0]["loss"] - expected[0]["loss"]) <= 2 * 3 * U / (1 - 3 * U) * expected[0]["loss"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_of_one_process_stops_both_and_the_run_goes_on(rank, forker: Forker, tmp_path):
    path, expected = undisturbed(tmp_path)
    out, log = tmp_path / "out", tmp_path / "log"
    codes = forker.run(log, "--preset", path, "--out", out, processes=2, rank=rank, interrupt_at=4)
    assert codes == [130, 130], log.read_text()
    assert log.read_text().count("stopped at step 5; --resume goes on\n") == 1
    assert forker.run(log, "--out", out, "--resume", processes=2) == [0, 0], log.read_text()
    assert result(out) == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_a_kill_of_one_process_ends_both_and_one_alone_can_go_on(rank, forker: Forker, tmp_path):
    """The other sees the connection closed; nothing waits for ever."""
    path, expected = undisturbed(tmp_path, training={"checkpoint_seconds": 1e-9})
    out, log = tmp_path / "out", tmp_path / "log"
    event = 6 if rank else 30  # the second process has no events but its steps
    codes = forker.run(log, "--preset", path, "--out", out, processes=2, rank=rank, die_at=event)
    assert codes[rank] == -signal.SIGKILL, log.read_text()
    assert codes[1 - rank] not in (0, 130), log.read_text()
    assert not (out / "model.safetensors").exists()
    assert forker.run(log, "--out", out, "--resume") == [0], log.read_text()
    assert result(out) == expected


def test_bad_input_ends_all_processes(forker: Forker, tmp_path):
    """Whoever sees it, the first says it in one line, and all give 2."""
    path, _ = undisturbed(tmp_path)
    log = tmp_path / "log"
    assert forker.run(log, "--preset", "none", "--out", tmp_path / "out", processes=2) == [2, 2]
    assert forker.run(log, "--out", tmp_path / "none", "--resume", processes=2) == [2, 2]
    assert forker.run(log, "--preset", path, "--out", "o", "--device", "x", processes=2) == [2, 2]
    before = (tmp_path / "alone" / "config.json").read_bytes()
    assert forker.run(log, "--preset", path, "--out", tmp_path / "alone", processes=2) == [2, 2]
    assert "Traceback" not in log.read_text()
    lines = re.findall("error: .*", log.read_text())  # Gloo writes there too, two processes into one line
    assert len(lines) == 4, log.read_text()
    assert "holds a run already" in lines[-1]
    assert (tmp_path / "alone" / "config.json").read_bytes() == before
    hot = preset(tmp_path, training={"learning_rate": 1e6, "warmup": 0})
    assert forker.run(log, "--preset", hot, "--out", tmp_path / "hot", processes=2) == [2, 2], log.read_text()


TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node=2"]


def torchrun(log: Path, *arguments: object) -> subprocess.Popen:
    command = [*TORCHRUN, "-m", "training.train", *map(str, arguments)]
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


@pytest.mark.slow
def test_torchrun_gives_what_one_process_gives(tmp_path):
    path, expected = undisturbed(tmp_path)
    with torchrun(tmp_path / "log", "--preset", path, "--out", tmp_path / "out") as process:
        code = process.wait()
    assert code == 0, (tmp_path / "log").read_text()
    assert result(tmp_path / "out") == expected


@pytest.mark.slow
def test_ctrl_c_under_torchrun_ends_it_and_the_run_goes_on(tmp_path):
    """SIGINT for the whole group, as a terminal sends it; torchrun's own SIGTERM to the workers follows."""
    changes = {"steps": 300, "checkpoint_seconds": 0.05}
    path, expected = undisturbed(tmp_path, training=changes)
    out, log = tmp_path / "out", tmp_path / "log"
    with torchrun(log, "--preset", path, "--out", out) as process:
        while process.poll() is None and not list(out.glob("checkpoints/step-*.json")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=600)
    assert code != 0
    assert "--resume goes on" in log.read_text()
    assert not (out / "model.safetensors").exists()
    with torchrun(log, "--out", out, "--resume") as process:
        code = process.wait()
    assert code == 0, log.read_text()
    assert result(out) == expected
