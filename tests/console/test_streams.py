"""Output that somebody stops reading, and names that are no text."""

import contextlib
import errno
import io
import json
import os
import sys

import pytest
import typer
from rich.console import Console

from console.errors import run_command
from console.figures import on_log_axis, plain
from console.output import finite
from console.streams import Lasting, printable

FAR_MORE_THAN_A_PIPE_HOLDS = 200_000


def app_that_prints(done: list[str], code: int, print_lines) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def main() -> int:
        print_lines()
        done.append("written")
        return code

    return app


@contextlib.contextmanager
def read_by_nobody(name: str):
    """``sys.stdout`` or ``sys.stderr`` is a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    stream, before = os.fdopen(writer, "w"), getattr(sys, name)
    setattr(sys, name, stream)
    try:
        yield stream
    finally:
        setattr(sys, name, before)
        stream.close()  # where something were left to write, this would raise BrokenPipeError


@pytest.mark.parametrize("code", [0, 1, 2])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_pipe_stops_nothing_and_changes_no_code(name, code):
    def lines():
        print("x" * FAR_MORE_THAN_A_PIPE_HOLDS, file=getattr(sys, name), flush=True)
        Console(stderr=name == "stderr").print("once more")

    done: list[str] = []
    with read_by_nobody(name):
        assert run_command(app_that_prints(done, code, lines), []) == code
    assert done == ["written"]


def test_a_full_disk_behind_the_output_is_said_once(capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = Lasting(Full())
    assert stream.write("one") == 3
    stream.writelines(["two", "three"])
    stream.flush()
    assert capsys.readouterr().err == (
        "standard output: cannot be written (No space left on device); going on\n"
    )


def test_letters_that_the_terminal_has_not_got(monkeypatch):
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding="ascii"))
    done: list[str] = []
    assert run_command(app_that_prints(done, 0, lambda: print("\u03c0 o\udcfe")), []) == 0
    assert taken.getvalue() == b"\\u03c0 o\\udcfe\n"


def test_output_that_is_closed_from_the_start(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    done: list[str] = []
    assert run_command(app_that_prints(done, 1, lambda: Console().print("lost")), []) == 1
    assert done == ["written"]


def test_names_that_are_no_text():
    name = os.fsdecode(b"b\xff$x.csv")
    assert printable(name) == "b\ufffd$x.csv"
    assert plain(name) == "b\ufffd\\$x.csv"
    assert plain("_hidden") == " _hidden"
    written = finite({name: [name, 1.0, float("inf"), "\u4e2d"]})
    assert json.dumps(written, ensure_ascii=False).encode() == (
        '{"b\ufffd$x.csv": ["b\ufffd$x.csv", 1.0, null, "\u4e2d"]}'.encode()
    )


def test_a_logarithmic_axis_has_no_place_for_0():
    assert str(on_log_axis([0.0, 2.0, None, -1.0, float("nan")])) == "[nan, 2.0, nan, nan, nan]"
