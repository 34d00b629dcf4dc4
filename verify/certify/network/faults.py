"""Whether every weight of a compiled transformer is what the formulas say: two readings, compared exactly.

Head dimensions and hidden units may stand in any order: no function of the stream depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from constructions.language.assembly import Construction
from constructions.language.transformer import Transformer
from verify.certify.network.formulas import read_formulas
from verify.certify.network.reading import LayerWeights, read_weights


def faults(construction: Construction, transformer: Transformer) -> list[str]:
    """What is compiled otherwise than written, a line each; none where every weight is right.

    The transformer holds one copy of each layer (``to_transformer`` unless unrolled), in any dtype.

    Raises:
        ValueError: a transformer that :func:`verify.certify.network.reading.read_weights` refuses.
    """
    dtype = next(transformer.parameters()).dtype
    wanted, found = read_formulas(construction, dtype), read_weights(transformer)
    lines = []
    for name in ("width", "sequence", "loops", "divide_by_tokens", "score_scale"):
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours != theirs:
            lines.append(f"{name} is {theirs!r}; the formulas say {ours!r}")
    if len(wanted.layers) != len(found.layers):
        return [*lines, f"{len(found.layers)} layers; the formulas say {len(wanted.layers)}"]
    for number, (ours, theirs) in enumerate(zip(wanted.layers, found.layers, strict=True), 1):
        lines += [f"layer {number}: {line}" for line in _layer_faults(ours, theirs)]
    return lines


def _layer_faults(wanted: LayerWeights, found: LayerWeights) -> Iterator[str]:
    if wanted.kind != found.kind:
        yield f"attention is {found.kind!r}; the formulas say {wanted.kind!r}"
    if len(wanted.heads) != len(found.heads):
        yield f"{len(found.heads)} heads; the formulas say {len(wanted.heads)}"
    for number, (ours, theirs) in enumerate(zip(wanted.heads, found.heads, strict=False), 1):
        yield from _differences(f"head {number}, (query, key)", ours.scores, theirs.scores)
        yield from _differences(f"head {number}, (value, output)", ours.reads, theirs.reads)
    yield from _differences("gain of the norm", [wanted.gain], [found.gain])
    yield from _differences("hidden unit (reads, bias, writes)", wanted.units, found.units)
    yield from _differences("second bias", wanted.offsets, found.offsets)


def _differences(what: str, wanted: Iterable[Hashable], found: Iterable[Hashable]) -> Iterator[str]:
    ours, theirs = Counter(wanted), Counter(found)
    if ours != theirs:
        yield from (f"{what} {part} is not there" for part in ours - theirs)
        yield from (f"{what} {part} is in no formula" for part in theirs - ours)
