"""Running the tensor power commands small, and constructions that are wrong in one place each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from commands import Outcome, invoke, strict_json
from typer import Typer

from constructions.language.assembly import Construction
from constructions.language.heads import HeadSum
from constructions.language.structured.partitions import Tokens
from constructions.tensor_power.iteration import PowerIteration

RELU = ("--dims", "1,2", "--trials", 2, "--steps", 3, "--pieces", 64)
SOFTMAX = ("--dims", "2", "--trials", 4, "--steps", 2, "--pairs", "1,2")

Edit = Callable[[PowerIteration], PowerIteration]


def run(app: Typer, out: Path, *arguments: object) -> tuple[Outcome, Any]:
    """A run that must keep every claim, and its results."""
    outcome = invoke(app, *arguments, "--out", out)
    assert outcome.code == 0, (outcome.err, outcome.out)
    return outcome, strict_json(out / "results.json")


def assert_reported_broken(outcome: Outcome, out: Path) -> Any:
    """Exit code 1, and the terminal, the JSON and the page say so; the results."""
    results = strict_json(out / "results.json")
    assert outcome.code == 1, outcome.err
    assert "A CLAIM IS BROKEN" in outcome.out
    assert "every claim held" not in outcome.out
    assert results["passed"] is False
    assert results["broken"] > 0
    page = (out / "index.html").read_text()
    assert "broken; they are marked below" in page
    assert ">BROKEN<" in page
    return results


def with_heads(em: PowerIteration, change: Callable[[list[Any]], list[Any]]) -> PowerIteration:
    """``em`` whose contract layer has other heads."""
    first, *rest = em.construction.layers
    heads = HeadSum(tuple(change(list(first.all_heads))))
    changed: Construction = dataclasses.replace(
        em.construction, layers=(dataclasses.replace(first, heads=(heads,)), *rest)
    )
    return dataclasses.replace(em, construction=changed)


def wrong_slice(em: PowerIteration) -> PowerIteration:
    """The first head reads the slice of the last coordinate."""
    return with_heads(em, lambda heads: [dataclasses.replace(heads[0], read=heads[-1].read), *heads[1:]])


def missing_negative_head(em: PowerIteration) -> PowerIteration:
    """One head with the scale of the wrong sign is not there: ``relu(a)`` alone."""
    place = next(i for i, head in enumerate(em.construction.layers[0].all_heads) if head.scale < 0)
    return with_heads(em, lambda heads: heads[:place] + heads[place + 1 :])


def wrong_alpha(em: PowerIteration) -> PowerIteration:
    """All heads weigh one part in 10^4 too much, as with a wrong ``alpha_k`` or ``e^c``."""
    return with_heads(
        em, lambda heads: [dataclasses.replace(head, scale=head.scale * (1 + 1e-4)) for head in heads]
    )


def missing_norm(em: PowerIteration) -> PowerIteration:
    """The contract layer leaves w as it is."""
    first, *rest = em.construction.layers
    layers = (dataclasses.replace(first, unit_output=False), *rest)
    return dataclasses.replace(em, construction=dataclasses.replace(em.construction, layers=layers))


def giving_nan(em: Any) -> Any:
    """NaN in what the first head writes."""

    class Giving(type(em)):
        def to_transformer(self, *arguments, **named):
            transformer = super().to_transformer(*arguments, **named)
            with torch.no_grad():
                transformer.layers[0].attention.output[0].fill_(torch.nan)
            return transformer

    return _as(Giving, em)


def without_sink_token(em: Any) -> Any:
    """The sink token is masked out."""

    class Sinkless(type(em)):
        def tokens(self, batch):
            right = super().tokens(batch)
            mask = torch.cat([torch.zeros_like(batch.mask[:, :1]), batch.mask], 1)
            return Tokens.of_dense(self.stream, self.construction.inputs, right.dense(), mask)

    return _as(Sinkless, em)


def _as(kind: type, em: Any) -> Any:
    return kind(**{f.name: getattr(em, f.name) for f in dataclasses.fields(em) if f.init})


def building(build: Callable[..., Any], edit: Edit, applies: Callable[[Any], bool] = lambda em: True) -> Any:
    """``build`` followed by ``edit`` where it applies; to be put in its place."""

    def built(*arguments: Any, **named: Any) -> Any:
        em = build(*arguments, **named)
        return edit(em) if applies(em) else em

    return built


def symmetric_tensor(dim: int, seed: int) -> torch.Tensor:
    """A random tensor that equals all its transposes exactly: entries are small whole numbers."""
    T = torch.randint(-4, 5, (dim, dim, dim), generator=torch.Generator().manual_seed(seed))
    return sum(T.permute(p) for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
