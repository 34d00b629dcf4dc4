"""What cannot fit is refused with the value that would."""

import pytest
import torch
import typer

from console import memory
from console.errors import BadInputError, run_command
from console.memory import available_bytes, check_fits, in_words


def test_what_would_fit_is_named_and_fits(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    check_fits("pieces", 1_048_576, 1000, 2**20)
    message = r"--pieces 1072694: needs about 1.0 GiB of memory, 1.0 GiB are free; at most 1072693 would fit"
    with pytest.raises(BadInputError, match=message):
        check_fits("pieces", 1_072_694, 1000, 2**20)
    check_fits("pieces", 1_072_693, 1000, 2**20)
    with pytest.raises(BadInputError, match="what the other options ask for is too much already"):
        check_fits("steps", 1, 10, 2**30)


def test_numbers_beyond_all_floats():
    with pytest.raises(BadInputError, match="more than a million PiB"):
        check_fits("tasks", 10**400, 8)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**34, "16 GiB"), (2**60, "1024 PiB")],
)
def test_words(count, words):
    assert in_words(count) == words


def test_there_is_memory_here():
    assert 2**20 < available_bytes() < 2**60


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError("Unable to allocate 7 TiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.\nmore"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_memory_that_ends_on_the_way_is_said_in_one_line(problem, capsys):
    app = typer.Typer()

    @app.command()
    def main() -> None:
        raise problem

    assert run_command(app, []) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is not enough memory (")
    assert line.endswith("); ask for less")


def test_another_fault_keeps_its_traceback():
    app = typer.Typer()

    @app.command()
    def main() -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="ours"):
        run_command(app, [])
