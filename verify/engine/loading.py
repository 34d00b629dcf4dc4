"""A theorem from a file of somebody's own: FILE.py:NAME."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from console.errors import BadInputError
from verify.engine.theorem import Theorem


def load_theorem(place: str, option: str = "") -> Theorem[Any]:
    """The object NAME of FILE.py, or one of its class where NAME is a class without arguments.

    The file is run as a module of its own; its folder is on ``sys.path`` meanwhile, so that it may import
    files beside it. Nothing is written beside it.

    Args:
        place: as typed. option: the option that it was given to, for messages.

    Raises:
        BadInputError: no such file, a file that does not run, no such name, or no theorem.
    """
    shown = f"{option} {place}".strip()
    file, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        raise BadInputError(f"{shown}: FILE.py:NAME is needed, as in my_theorem.py:MINE")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise BadInputError(f"{shown}: there is no file {file}; FILE.py:NAME is needed")
    module = _run(path.resolve(), shown)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if isinstance(value, Theorem)]
        raise BadInputError(
            f"{shown}: {path.name} has no {name}; theorems in it: {', '.join(known) or 'none'}"
        )
    found = getattr(module, name)
    if isinstance(found, type) and issubclass(found, Theorem):
        try:
            found = found()
        except TypeError as problem:
            raise BadInputError(f"{shown}: {problem}") from None
    if not isinstance(found, Theorem):
        raise BadInputError(
            f"{shown}: is a {type(found).__name__}; a verify.engine.theorem.Theorem is needed"
        )
    if missing := [
        key for key in ("name", "key", "source", "hypotheses", "sizes") if not hasattr(found, key)
    ]:
        raise BadInputError(f"{shown}: does not say its {', '.join(missing)}")
    return found


class _Unwritten(SourceFileLoader):
    """Runs a file and leaves no compiled one beside it."""

    def set_data(self, path: Any, data: Any, *, _mode: int = 0o666) -> None:
        """Writes nothing."""


def _run(path: Path, shown: str) -> Any:
    module_name = f"theorem_in_{path.stem}"
    spec = importlib.util.spec_from_file_location(
        module_name, path, loader=_Unwritten(module_name, str(path))
    )
    if spec is None or spec.loader is None:
        raise BadInputError(f"{shown}: {path.name} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        del sys.modules[module_name]
        line = _line_in(problem, path)
        where = f"{path.name}:{line}" if line else path.name
        raise BadInputError(f"{shown}: {where} does not run: {type(problem).__name__}: {problem}") from None
    finally:
        sys.path.remove(str(path.parent))
    return module


def _line_in(problem: Exception, path: Path) -> int | None:
    """The last line of the file that the exception passed through."""
    if isinstance(problem, SyntaxError):
        return problem.lineno
    line, trace = None, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
