"""The folder that ``--out`` names: what it is called by default, and which run it holds.

A run is a command with its settings: everything that decides its figures, of a file or a network its SHA-256.
``results.json`` and every finished cell (console.cells) name the run that wrote them, so that a second run
never replaces a first one of other settings.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from console.errors import BadInputError

RESULTS, CELLS = "results.json", "parts"
LONGEST_NAME, LONGEST_VALUE = 100, 60
ENDINGS = (".safetensors", ".csv", ".npy", ".npz", ".json")


def default_out(
    kind: str, context: typer.Context, bare: Sequence[str] = (), leave: Sequence[str] = ()
) -> Path:
    """``results/KIND_...``, as in results/evaluate_d2_samples_tasks64_seed1.

    The values of the ``bare`` parameters, then name and value of each other one that is given, those of
    ``leave`` excepted; the seed always. What is longer than 100 characters ends in a digest instead.
    """
    words = [kind]
    given = {parameter.name or "": parameter.default for parameter in context.command.params}
    for name in sorted(given, key="seed".__eq__):  # the seed comes last
        value = context.params.get(name)
        if name == "out" or name in leave or value is None or value is False or value in ([], ()):
            continue
        if name in bare:
            words.append(word(value))
        elif name == "seed" or value != given[name]:
            words.append(name.replace("_", "-") + ("" if value is True else word(value)))
    name = "_".join(part for part in words if part)
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Path("results") / name


def word(value: object) -> str:
    """A value as part of a file's name: letters, digits, ``.``, ``+`` and ``-``.

    Of a path its last name, without the ending of weights or data; of a run's ``model.safetensors`` the run.
    """
    if isinstance(value, list | tuple):
        return "-".join(map(word, value))
    if isinstance(value, Path) or "/" in str(value):
        path = Path(str(value))
        path = path.with_suffix("") if path.suffix in ENDINGS else path
        value = "-".join(path.parts[-3:-1]) if path.name == "model" and path.parts[1:] else path.name
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", str(value)).strip("-.")


def file_digest(path: Path | None) -> str | None:
    """SHA-256 of a file; None of None."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def plain(run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back, so that both sides of a comparison are of one kind."""
    return json.loads(json.dumps(run, default=str))


def refuse_another_run(out: Path, command: str, run: Mapping[str, Any]) -> None:
    """Refuse a folder whose results or finished cells are those of another run.

    Raises:
        BadInputError: names the settings that differ.
    """
    for path in (out / RESULTS, *sorted((out / CELLS).glob("*.json"))):
        held = _held(path)
        if held is None:
            continue
        if held.get("command") != command:
            raise BadInputError(
                f"--out {out}: holds {path.name} of {held['command']}, not of {command}; name another folder"
            )
        there = held.get("run")
        if not isinstance(there, dict):
            raise BadInputError(
                f"--out {out}: holds {path.name}, which does not say its settings; name another folder"
            )
        differ = _differences(there, plain(run))
        if differ:
            raise BadInputError(
                f"--out {out}: holds a run of other settings ({'; '.join(differ)}); name another folder"
            )


def _held(path: Path) -> dict[str, Any] | None:
    """What a file of ours says; None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and "command" in content else None


def _differences(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = [*now, *(name for name in there if name not in now)]
    return [
        f"{name}: {_short(there.get(name))} there, {_short(now.get(name))} now"
        for name in names
        if there.get(name) != now.get(name)
    ]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
