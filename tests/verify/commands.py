"""Running the command lines of verify/ in this process, and reading what they leave."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import typer

from console.errors import run_command
from constructions.em.unit import EMConstruction, e_layer, m_layer
from constructions.em.weights import em_construction
from constructions.language.assembly import Construction
from constructions.language.heads import SoftmaxHead
from constructions.language.mlp import apply, clear
from constructions.language.scores import dot
from constructions.language.structured.evaluation import DenseEvaluator
from verify.em_construction import app as em_command

TINY_GRID = ("--dims", 2, "--components", 2, "--samples", 9, "--trials", 2, "--steps", 2, "--pieces", 8)


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def invoke(app: typer.Typer, *arguments: object) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(app, [str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def run(out: Path, *arguments: object) -> tuple[Outcome, Any]:
    """A run of verify.em_construction that must keep its bounds, and its results."""
    outcome = invoke(em_command, *arguments, "--out", out)
    assert outcome.code == 0, outcome.err
    return outcome, strict_json(out / "results.json")


def strict_json(path: Path) -> Any:
    """The content of a JSON file; NaN and Infinity, which Python would accept, are refused."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def one_file_page(out: Path) -> tuple[str, set[str]]:
    """index.html, which must need no other file and hold every PNG of the folder; the names of these.

    What keeps a number on one line (console/unbroken.py) is left out.
    """
    page = (out / "index.html").read_text()
    assert not re.search(r"https?://", page)
    assert not re.search(r"<(link|script|iframe)\b", page)
    sources = re.findall(r'\bsrc="([^"]*)"', page)
    inlined = {base64.b64decode(s.removeprefix("data:image/png;base64,"), validate=True) for s in sources}
    files = {path.stem: path.read_bytes() for path in out.glob("*.png")}
    assert inlined == set(files.values())
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in files.values())
    return re.sub(r'<span class="n">([^<]*)</span>', r"\1", page), set(files)


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below ``folder``, by name and content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def flipped_half_norm2(em: EMConstruction) -> EMConstruction:
    """``em`` with the wrong sign before ``|mu|^2 / 2`` in the score of the E layer."""
    q, k = em.stream.query, em.stream.key
    return _with_score(em, dot(q.x, k.mu) + dot(q.log_pi, k.slot) + k.half_norm2 - k.log_count)


def without_log_count(em: EMConstruction) -> EMConstruction:
    """``em`` whose E layer counts a component as often as tokens hold its slot."""
    q, k = em.stream.query, em.stream.key
    return _with_score(em, dot(q.x, k.mu) + dot(q.log_pi, k.slot) - k.half_norm2)


def with_wrong_square(em: EMConstruction) -> EMConstruction:
    """``em`` whose M layer refreshes ``half_norm2`` with 0.45 instead of 0.5 of the square."""
    s = em.stream
    mlp = (
        apply(em.log_pi, s.pi, s.log_pi),
        apply(em.square, s.mu, s.half_norm2, 0.45),
        clear(s.resp),
        clear(s.log_resp),
    )
    layer = dataclasses.replace(m_layer(s, em.log_pi, em.square), mlp=mlp)
    return _with_layers(em, e_layer(s, em.log_resp), layer)


def giving_nan(em: EMConstruction) -> EMConstruction:
    """``em`` with NaN in the weights that write the means."""
    transformer = em.to_transformer()
    with torch.no_grad():
        transformer.layers[1].attention.output[0].fill_(torch.nan)
    changed = dataclasses.replace(em)
    changed._compiled["dense", torch.float64, "cpu"] = DenseEvaluator(transformer)
    return changed


def built(*arguments: Any, mutate: Any, **named: Any) -> EMConstruction:
    """``em_construction`` followed by a mutation; to be put in its place."""
    return mutate(em_construction(*arguments, **named))


def _with_score(em: EMConstruction, score: Any) -> EMConstruction:
    s = em.stream
    layer = dataclasses.replace(
        e_layer(s, em.log_resp), heads=(SoftmaxHead(score, read=s.slot, write=s.resp),)
    )
    return _with_layers(em, layer, m_layer(s, em.log_pi, em.square))


def _with_layers(em: EMConstruction, *layers: Any) -> EMConstruction:
    changed: Construction = dataclasses.replace(em.construction, layers=layers)
    return dataclasses.replace(em, construction=changed)
