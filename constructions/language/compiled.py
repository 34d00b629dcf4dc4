"""What a construction has compiled so far, by dtype and device."""

from __future__ import annotations

from typing import Any


class Compiled(dict[Any, Any]):
    """A dictionary that copies and pickles leave empty: the formulas make the weights again anywhere."""

    def __reduce__(self) -> tuple[type[Compiled], tuple[()]]:
        return Compiled, ()
