"""Numbers in a page that no line break tears apart: a browser may break 1.2e-04 behind its hyphen."""

from __future__ import annotations

import re

_TEXT = re.compile(r">[^<>]+<")
"""What stands between two tags; attributes, and so the pictures' data, are inside of tags."""

_NUMBER = re.compile(r"[+-]?\d[\d.,]*e[+-]\d+")


def unbroken(page: str) -> str:
    """The page with ``<span class="n">`` around every number that has an exponent; its text is the same."""
    head, body, rest = page.partition("</style>")
    return head + body + _TEXT.sub(lambda text: _NUMBER.sub(r'<span class="n">\g<0></span>', text[0]), rest)
