"""The commands of the program ``gmm-theory``: one for each module that ``python -m`` runs.

A command is imported when it is run, completed or listed, torch only once its own options are read.
"""

from __future__ import annotations

import platform
import re
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from console.commands import COMMANDS, PROGRAM
from console.errors import BadInputError, loaded
from console.options import usage
from console.origin import PACKAGE


class Commands(TyperGroup):
    """Those of :data:`COMMANDS`, in that order."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of the module, with what its docstring says first; None for no name of ours."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name])
        command = loaded(module.app)
        command.short_help = summary(module.__doc__ or "")
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and the words after it; BadInputError for another name."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise BadInputError(f"{args[0]}: no command; it is one of {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


def summary(doc: str) -> str:
    """The first sentence of a module's docstring, without the command that it begins with."""
    first = re.split(r"(?<=\.)\s", usage(doc).replace("\n", " "), maxsplit=1)[0]
    return first.partition(": ")[2] if first.startswith("python -m ") else first


def version() -> str:
    """``gmm-theory 0.2.0 (Python 3.11.7, torch 2.13.0)``; torch is asked without being imported."""
    ours, torchs = metadata.version(PACKAGE), metadata.version("torch")
    return f"{PROGRAM} {ours} (Python {platform.python_version()}, torch {torchs})"


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(version())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    shown: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="say the versions, and end"),
    ] = False,
) -> None:
    """Theorems about transformers and Gaussian mixtures as weights that run: built, bounded and measured.

    COMMAND --help says all of one. Each is also a module: gmm-theory train is python -m training.train.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
