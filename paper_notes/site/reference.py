"""Pages made from the code: one a command from its own options, one a part of the API."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer.main
from sklearn.base import BaseEstimator

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("verify", "training")
ROUTING = "set_fit_request, set_score_request, get_metadata_routing"
"""What scikit-learn adds to every estimator, and documents itself."""


def command_modules() -> list[str]:
    """Every module that `python -m` runs: those of the rooms that make a typer application."""
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            if "app = typer.Typer(" in path.read_text(encoding="utf-8"):
                found.append(room if path.stem == "__main__" else f"{room}.{path.stem}")
    return found


def command_pages() -> dict[str, str]:
    """Text by file name: the list of commands, and a page each."""
    pages, rows = {}, []
    for module in command_modules():
        loaded = importlib.import_module(f"{module}.__main__" if module in ROOMS else module)
        command = typer.main.get_command(loaded.app)
        name = module.replace(".", "_")
        summary = inspect.cleandoc(loaded.__doc__ or "").splitlines()[0]
        pages[f"commands/{name}.md"] = _command_page(module, command)
        rows.append(f"* [`python -m {module}`]({name}.md): {_text(summary)}")
    listing = "\n".join(rows)
    toc = "\n".join(module.replace(".", "_") for module in command_modules())
    pages["commands/index.md"] = (
        "# Commands\n\nMade from the commands' own options. "
        "[All commands by example](../notes/commands.md).\n\n"
        f"{listing}\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    )
    return pages


def _command_page(module: str, command: click.Command) -> str:
    context = command.make_context(module, [], resilient_parsing=True)
    words = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"# python -m {module}", "", "```text", words, "```", "", "## Options", ""]
    parts += ["| option | what |", "|---|---|"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        shown, what = record or (parameter.human_readable_name, getattr(parameter, "help", "") or "")
        parts.append(f"| `{_cell(shown)}` | {_text(_cell(what))} |")
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _text(text: str) -> str:
    """Without mark-up."""
    for sign in "*_[]<>$`":
        text = text.replace(sign, f"\\{sign}")
    return text


def api_pages(listing: Path) -> dict[str, str]:
    """Text by file name: the list of parts, and a page each."""
    parts = tomllib.loads(listing.read_text(encoding="utf-8"))
    pages = {}
    for name, part in parts.items():
        head = f"# {part['title']}\n\n{part['about']}\n\n"
        pages[f"api/{name}.md"] = f"{head}```{{eval-rst}}\n{_directives(part)}\n```\n"
    rows = "\n".join(f"* [{part['title']}]({name}.md): {part['about']}" for name, part in parts.items())
    toc = "\n".join(parts)
    pages["api/index.md"] = (
        f"# API reference\n\nMade from the docstrings.\n\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    )
    return pages


def api_names(listing: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that the reference documents."""
    for part in tomllib.loads(listing.read_text(encoding="utf-8")).values():
        yield from _names(part)


def _names(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "package" in part:
        yield from ((part["package"], name) for name in importlib.import_module(part["package"]).__all__)
    for entry in part.get("modules", ()):
        module, _, names = entry.partition(":")
        yield from ((module, name) for name in (names.split(",") if names else _public(module)))


def _public(module: str) -> list[str]:
    """Classes and functions that the module defines and does not hide, in their order."""
    loaded = importlib.import_module(module)
    own = [
        (inspect.getsourcelines(value)[1], name)
        for name, value in vars(loaded).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module
    ]
    return [name for _, name in sorted(own)]


def _directives(part: dict[str, Any]) -> str:
    lines, last = [], ""
    for module, name in _names(part):
        if "modules" in part and module != last:
            loaded = importlib.import_module(module)
            summary = inspect.cleandoc(loaded.__doc__ or "").splitlines()[0]
            lines += ["", module, "-" * len(module), "", *_escape(summary), ""]
            last = module
        lines += _directive(module, name)
    return "\n".join(lines)


def _directive(module: str, name: str) -> list[str]:
    value = getattr(importlib.import_module(module), name)
    if inspect.ismodule(value):
        return [f".. automodule:: {value.__name__}", "   :members:", ""]
    if inspect.isclass(value):
        lines = [f".. autoclass:: {module}.{name}", "   :members:"]
        if issubclass(value, BaseEstimator):
            lines += [
                "   :inherited-members: BaseEstimator",
                f"   :exclude-members: {ROUTING}",
            ]
        return [*lines, ""]
    kind = "autofunction" if callable(value) else "autodata"
    return [f".. {kind}:: {module}.{name}", ""]


def _escape(text: str) -> list[str]:
    from docstrings import as_rst

    return as_rst([text])
