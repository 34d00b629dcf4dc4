"""Frozen dataclasses as JSON and back, by their type hints, strictly: the one place of untyped values.

    bool, int, float, str, None, Literal     as they are; NaN and infinities stay what they are
    list[X], tuple[X, ...], tuple[X, Y]      an array, and so is a NamedTuple
    dict[str, X]                             an object whose keys are data
    a dataclass                              an object of its fields, none missing, none unknown
    X | Y                                    the one that fits

An int is taken where a float is meant, for JSON does not tell 1 from 1.0. What a long command has computed is
kept on disk (console.cells) with the version of this format, and read back as what it was.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from console.cells import Cells
from console.errors import BadInputError
from console.folder import word

FORMAT = 2
"""Of kept results; those of another one are computed again. 1 had no types."""

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """``Annotated[X, Key("a b")]``: the field's name in JSON, where it is no identifier."""

    name: str


@dataclass(frozen=True)
class Beside:
    """``Annotated[X, Beside()]``: what X holds stands beside the other fields, not in an object of its own.

    X is a dataclass, or a ``dict[str, Y]`` of the keys that are no field's.
    """


@dataclass(frozen=True)
class Absent:
    """``Annotated[X | None, Absent()] = None``: a None has no place in JSON, or `instead` in its place."""

    instead: Any = ...


class IllTypedError(ValueError):
    """A value that is not what its type hint says; the message names its place."""


def to_plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text; TypeError for what JSON cannot say."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {}
        for name, (key, absent, _) in _places(type(value)).items():
            item = getattr(value, name)
            if key is None:
                found |= to_plain(item)
            elif item is not None or absent is None:
                found[key] = to_plain(item)
            elif absent.instead is not ...:
                found[key] = absent.instead
        return found
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a key of {list(value)} is not text, needs text")
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} has no place in JSON")


def from_plain(kind: type[T], value: Any, where: str = "it") -> T:
    """What :func:`to_plain` was given, of this type; IllTypedError names the place that does not fit."""
    return _read(kind, value, where)


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, value, where)
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise IllTypedError(f"{where} is {_short(value)}, needs one of {', '.join(map(repr, arguments))}")
        return value
    if origin is list:
        return [_read(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(_array(value, where))]
    if origin is tuple:
        if arguments[1:] == (...,):
            return tuple(_read(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(_array(value, where)))
        return tuple(_each(arguments, value, where))
    if origin is dict:
        return {key: _read(arguments[1], v, f"{where}.{key}") for key, v in _object(value, where).items()}
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return kind(*_each(list(typing.get_type_hints(kind).values()), value, where))
    wanted = (int, float) if kind is float else (kind,)
    if kind not in (bool, int, float, str, type(None)):
        raise TypeError(f"{where}: {kind} has no place in JSON")
    if type(value) not in wanted:
        raise IllTypedError(f"{where} is {_short(value)}, needs {_name(kind)}")
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    given, found, left = dict(_object(value, where)), {}, None
    for name, (key, absent, hint) in _places(kind).items():
        if key is None and is_dataclass(hint):
            keys = [key for key, _, _ in _places(hint).values() if key in given]
            found[name] = _read(hint, {key: given.pop(key) for key in keys}, where)
        elif key is None:
            left = name, hint
        elif key in given:
            item = given.pop(key)
            if absent is None or absent.instead is ... or item != absent.instead:
                found[name] = _read(hint, item, f"{where}.{key}")
        elif absent is None or absent.instead is not ...:
            raise IllTypedError(f"{where} has no {key!r}")
    if left is not None:
        found[left[0]], given = _read(left[1], given, where), {}
    if given:
        raise IllTypedError(f"{where} has an unknown {min(given)!r}")
    return kind(**found)


@cache
def _places(kind: Any) -> dict[str, tuple[str | None, Absent | None, Any]]:
    """Of every field: its key (None of one that is Beside), what a None becomes, its type."""
    hints, found = typing.get_type_hints(kind, include_extras=True), {}
    for one in fields(kind):
        hint, key, absent = hints[one.name], one.name, None
        for note in getattr(hint, "__metadata__", ()):
            key = note.name if isinstance(note, Key) else None if isinstance(note, Beside) else key
            absent = note if isinstance(note, Absent) else absent
        found[one.name] = (key, absent, hint.__origin__ if hasattr(hint, "__metadata__") else hint)
    return found


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    several = [kind for kind in kinds if kind is not type(None)]
    problems = []
    for kind in several:
        try:
            return _read(kind, value, where)
        except IllTypedError as problem:
            problems.append(str(problem))
    raise IllTypedError(" or ".join(problems))


def _each(kinds: Any, value: Any, where: str) -> list[Any]:
    if len(_array(value, where)) != len(kinds):
        raise IllTypedError(f"{where} has {len(value)} values, needs {len(kinds)}")
    return [_read(kind, v, f"{where}[{i}]") for i, (kind, v) in enumerate(zip(kinds, value, strict=True))]


def _array(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise IllTypedError(f"{where} is {_short(value)}, needs an array")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise IllTypedError(f"{where} is {_short(value)}, needs an object")
    return value


def _name(kind: Any) -> str:
    return {bool: "true or false", int: "an integer", float: "a number", str: "text"}.get(kind, "null")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A result and the seconds that it took."""

    result: T
    seconds: float


def load_result(cells: Cells, key: str, kind: type[T]) -> Kept[T] | None:
    """What was computed before; None where :meth:`Cells.load` has none, or one of another format.

    Raises:
        BadInputError: a file of this format whose values are not what they must be; it was edited.
    """
    data = cells.load(key)
    if data is None:
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        cells.done.discard(key)
        return None
    try:
        return _kept(data, kind)
    except IllTypedError as problem:
        path = cells.folder / f"{word(key)}.json"
        raise BadInputError(f"{path}: {problem}; remove the file, and it is computed again") from None


def save_result(cells: Cells, key: str, kept: Kept[T]) -> Kept[T]:
    """Keep it, and give it back as a later :func:`load_result` would."""
    data = {"format": FORMAT, "seconds": kept.seconds, "result": to_plain(kept.result)}
    return _kept(cells.save(key, data), type(kept.result))


def _kept(data: dict[str, Any], kind: type[T]) -> Kept[T]:
    if unknown := data.keys() - {"format", "seconds", "result"}:
        raise IllTypedError(f"it has an unknown {min(unknown)!r}")
    seconds = from_plain(float, data.get("seconds"), "seconds")
    return Kept(from_plain(kind, data.get("result"), "result"), seconds)
