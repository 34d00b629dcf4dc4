"""What a property of the conformance suite says where it does not hold."""

from __future__ import annotations


class PropertyError(AssertionError):
    """A property that the theorem has not got, though it does not say so."""


def require(holds: bool, what: str) -> None:
    """Raise :class:`PropertyError` with these words unless it holds."""
    if not holds:
        raise PropertyError(what)
