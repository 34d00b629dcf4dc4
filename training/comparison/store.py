"""What a comparison keeps on disk while it runs, so that a stopped one goes on: one JSON file a part.

`DIR/parts/KEY.json` holds what the part computed and the fingerprint of everything that it depends on: the
network's digest, the effort, and the code of the training room. A file of another fingerprint is not used.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from console.errors import BadInputError
from console.output import finite
from training.comparison.parts import Part, Subject

FOLDER = "parts"
ROOMS = ("constructions", "baselines", "training")


def code_digest() -> str:
    """SHA-256 of the sources that parts are computed by: other code, other figures."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint(subject: Subject, part: Part, code: str) -> str:
    """SHA-256 of what decides a part's figures."""
    content = {
        "part": part.key,
        "network": subject.released.sha256,
        "config": asdict(subject.model.config),
        "effort": asdict(subject.effort),
        "code": code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Store:
    """The parts of one comparison on disk.

    Args:
        out: the folder of the comparison.
        subject: what is compared.
    """

    def __init__(self, out: Path, subject: Subject) -> None:
        self.folder, self.subject, self.code = out / FOLDER, subject, code_digest()

    def load(self, part: Part) -> dict[str, Any] | None:
        """What the part computed before, or None: nothing there, damaged, or of something else."""
        try:
            kept = json.loads(self._path(part).read_text(encoding="utf-8"))
            fitting = kept["fingerprint"] == fingerprint(self.subject, part, self.code)
            return kept["data"] if fitting else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, part: Part, data: dict[str, Any]) -> dict[str, Any]:
        """Keep it, and give it back as a later :meth:`load` would: plain JSON values.

        Raises:
            BadInputError: the folder cannot be written.
        """
        content = {"fingerprint": fingerprint(self.subject, part, self.code), "data": finite(data)}
        text = json.dumps(content, indent=1, allow_nan=False)
        path = self._path(part)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as problem:
            raise BadInputError(f"{path}: cannot be written ({problem.strerror})") from None
        finally:
            partial.unlink(missing_ok=True)
        return json.loads(text)["data"]

    def _path(self, part: Part) -> Path:
        return self.folder / f"{part.key}.json"
