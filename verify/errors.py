"""Bad input at a command line: one clear line on stderr, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

BROKEN, BAD_INPUT = 1, 2

# Newer typer carries its own copy of click, older typer imports it: the class of all usage errors is the
# base of BadParameter in both.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class BadInputError(ValueError):
    """What was given and what is accepted, in one line."""


def run_command(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a typer command and return its exit code: 0 kept, 1 a bound is broken, 2 bad input.

    ``ValueError`` covers our own checks in every room; each of them names the value and what is accepted.
    """
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, standalone_mode=False)
    except USAGE_ERROR as problem:
        return _refuse(problem.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError as problem:
        return _refuse(str(problem))
    except typer.Abort:
        print("stopped; nothing was written", file=sys.stderr)
        return BROKEN
    return result if isinstance(result, int) else 0


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
