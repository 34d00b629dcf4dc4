"""Bad input at a command line: one clear line on stderr, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer

from console.starting import leave_stops_to_the_command
from console.streams import lasting_output

BROKEN, BAD_INPUT, STOPPED = 1, 2, 130

# Newer typer carries its own copy of click, older typer imports it: the class of all usage errors is the
# base of BadParameter in both.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class BadInputError(ValueError):
    """What was given and what is accepted, in one line."""


class StoppedError(Exception):
    """Ctrl-C, with what is saved and how to go on, in one line."""


def run_command(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a typer command and return its exit code: 0 kept, 1 broken, 2 bad input, 130 stopped by Ctrl-C.

    A reader of the output that goes away (``| head -1``) stops nothing and changes no code. An exception of
    another kind is a fault of ours and keeps its traceback.
    """
    leave_stops_to_the_command()
    with lasting_output():
        return _run(loaded(app), arguments)


def loaded(app: typer.Typer) -> Any:
    """The command of an app, with a line for a Ctrl-C that it leaves open: typer ends without a word."""
    command = typer.main.get_command(app)
    command.callback = _answering_stops(command.callback)
    return command


def _run(command: Any, arguments: Sequence[str] | None) -> int:
    try:
        result = command.main(args=arguments, standalone_mode=False)
    except USAGE_ERROR as problem:
        return _refuse(problem.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    except BadInputError as problem:
        return _refuse(str(problem))
    except MemoryError as problem:
        return _refuse(f"there is not enough memory ({problem}); ask for less")
    except RuntimeError as problem:
        if not _is_of_memory(problem):
            raise
        return _refuse(f"there is not enough memory ({str(problem).splitlines()[0]}); ask for less")
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        return STOPPED
    return result if isinstance(result, int) else 0


def _is_of_memory(problem: RuntimeError) -> bool:
    """Whether torch had no more memory; no command that did not load it is made to."""
    torchs = getattr(sys.modules.get("torch"), "OutOfMemoryError", ())
    return isinstance(problem, torchs) or "allocate memory" in str(problem)


@contextmanager
def checking_input(what: str = "") -> Iterator[None]:
    """Inside, a ``ValueError`` of any room is bad input: all of them name the value and what is accepted.

    ``what`` names the option or the file that it came from, unless the message begins with an option.

    Raises:
        BadInputError: in place of it.
    """
    try:
        yield
    except BadInputError:
        raise
    except ValueError as problem:
        named = str(problem) if not what or str(problem).startswith("--") else f"{what}: {problem}"
        raise BadInputError(named) from None


def _answering_stops(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    if callback is None:
        raise ValueError("the command has no function, needs one")

    @wraps(callback)
    def answering(*arguments: Any, **named: Any) -> Any:
        try:
            return callback(*arguments, **named)
        except KeyboardInterrupt:
            raise StoppedError("stopped; nothing of this call is saved") from None

    return answering


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
