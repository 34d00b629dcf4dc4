"""The section on a checkpoint's weights: distances, and EM's score blocks, from JSON values alone."""

from __future__ import annotations

import math

from console.output import significant
from console.sections import Section, Table, table_of
from training.comparison.weights.block_verdicts import NATS, SHARE
from training.comparison.weights.encoder_pairs import Beyond, largest_beyond
from training.comparison.weights.encoder_verdicts import LEAST_MASS, Verdicts, judge
from training.comparison.weights.encoders import EncodedBlocks
from training.comparison.weights.figures import (
    LAYERS,
    READS,
    SCORES,
    layers_picture,
    reads_picture,
    scores_picture,
)
from training.comparison.weights.measure import NoBlocks, WeightsResult

PICTURES = (LAYERS, SCORES, READS)
SAME = 1e-10
"""A transformed copy has at most this distance after alignment."""
OWN_START = 0.5
"""Component tokens of unrelated networks are about sqrt(2) apart; nearer than this is a common start."""
REPEATED = 0.5
"""Layers of this cosine share half of their weights, in the sense of least squares."""
MOST_BEYOND = 8
"""Rows of the table of blocks beyond EM."""
KINDS = {"A": "A", "V": "V", "MLP": "MLP", "tokens": "component tokens", "rest": "read-in, read-out"}


def render(found: WeightsResult) -> Section:
    """Findings computed from the numbers."""
    paragraphs = [_distances(found), _start(found), _alike(found.layers)]
    tables = [_distance_table(found)]
    pictures = [layers_picture(found.layers)]
    blocks = found.blocks
    if isinstance(blocks, NoBlocks):
        paragraphs.append(f"EM's score blocks were not looked for: {blocks.missing}.")
    else:
        verdicts = {name: judge(blocks, name) for name in blocks.networks}
        paragraphs += [_theorem(blocks, verdicts), _beyond(blocks), _reads(blocks), _limits(blocks)]
        tables += [_block_table(blocks, verdicts, found.seed), _beyond_table(blocks, found.seed)]
        pictures += [scores_picture(blocks, verdicts, found.seed), reads_picture(blocks, found.seed)]
    return Section([text for text in paragraphs if text], tables, pictures)


def _distances(found: WeightsResult) -> str:
    copies, broken = found.symmetries.copies, found.symmetries.broken
    worst = max(row.after for row in copies)
    before = min(row.before for row in copies)
    verdict = "as it must be" if worst <= SAME else f"above {SAME:g}: the alignment fails here"
    text = (
        f"{len(copies)} random copies of the network (heads, hidden units and component tokens in another "
        "order, other bases inside query-key and value-output products; the same function) are at least "
        f"{significant(before)} away weight by weight, relative to the norm of the weights, and at most "
        f"{significant(worst)} after alignment, {verdict}."
    )
    if broken is not None:
        text += (
            " A copy with the GELU units of one layer stretched, which is another function, stays at "
            f"{significant(broken.after)}."
        )
    untrained, random = found.controls["untrained"], found.controls["random"]
    return text + (
        f" The untrained network is at {significant(untrained.after)} (cosine "
        f"{significant(untrained.cosine)}), random directions of equal sizes at "
        f"{significant(random.after)} (cosine {significant(random.cosine)})."
    )


def _start(found: WeightsResult) -> str:
    """Whether the untrained network is where this training began."""
    tokens = found.controls["untrained"].by_kind.get("tokens")
    if tokens is None or not tokens < OWN_START:
        return ""
    return (
        f"The component tokens of the untrained network are only {significant(tokens)} away from the learned "
        "ones: it is probably the start of this very training (the same seed). What the two have in common "
        "is then what training left in place, and not chance."
    )


def _alike(layers: dict[str, list[list[float]]]) -> str:
    """Whether layers repeat, in particular with period 2."""
    lags = {name: [_mean(_lag(matrix, lag)) for lag in (1, 2)] for name, matrix in layers.items()}
    if math.isnan(lags["learned"][0]):
        return ""
    texts = [
        f"{name} {significant(one)} one layer apart and {significant(two)} two apart"
        for name, (one, two) in lags.items()
    ]
    n_layers = len(layers["learned"])
    largest, chance = (
        max(x for lag in range(1, n_layers) for x in (*_lag(layers[name], lag), -1.0))
        for name in ("learned", "random")
    )
    verdict = "no sign of the theorem's loop over one block of weights"
    if largest > max(REPEATED, chance):
        verdict = "some layers repeat"
    elif largest > chance:
        verdict = f"more in common than by chance in places, but {verdict}"
    return (
        f"Mean cosine of layers after alignment (1: the same layer): {'; '.join(texts)}. The most similar "
        f"pair of learned layers has {significant(largest)}, of random directions {significant(chance)}: "
        f"{verdict}."
    )


def _lag(matrix: list[list[float]], lag: int) -> list[float]:
    return [x for i in range(len(matrix) - lag) if not math.isnan(x := matrix[i][i + lag])]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _theorem(blocks: EncodedBlocks, verdicts: dict[str, Verdicts]) -> str:
    about = blocks.about
    own = verdicts["learned"]
    parts = []
    for label, text in own.names.items():
        part = f"{text}: {own.verdict[label]}"
        if own.heads[label]:
            best = own.best[label]
            heads = ", ".join(f"{layer}.{head}" for layer, head in own.heads[label])
            part += (
                f" in heads {heads}; in the nearest, {best.layer}.{best.head}, with cosine "
                f"{significant(best.sizes.cosine)} at {significant(best.sizes.coefficient)} of EM's "
                f"strength, and attention on these keys of {significant(best.mass)}"
            )
        parts.append(part)
    controls = [
        f"{name} {sum(bool(heads) for heads in verdict.heads.values())} of {len(verdict.heads)}"
        for name, verdict in verdicts.items()
        if name != "learned"
    ]
    return (
        f"EM's score blocks (K = {about.K}, d = {about.d}; heads as layer.head). {'. '.join(parts)}. Blocks "
        f"found in the controls by the same rules: {', '.join(controls)}."
    )


def _beyond(blocks: EncodedBlocks) -> str:
    found = largest_beyond(blocks)
    if not found:
        return "No score block between two named variables that EM has not exceeds both controls."
    texts = [
        f"{_attending(row)} by {row.query} on {row.key} ({significant(row.best.sizes.size)} nats of a "
        f"score's {significant(row.best.score)}, head {row.best.layer}.{row.best.head}, {row.heads} heads "
        "in all)"
        for row in found[:3]
    ]
    return f"In addition, the largest of {len(found)} kinds of blocks that EM has not: {'; '.join(texts)}."


def _attending(row: Beyond) -> str:
    return "points attend to component tokens" if row.step == "E" else "component tokens attend to points"


def _reads(blocks: EncodedBlocks) -> str:
    """What component tokens receive, over heads that attend to points for the most part."""
    shares = {}
    for name, layers in blocks.reads.items():
        heads = [head for layer in layers for head in layer.heads if head.mass["M"] >= 0.5]
        values = [head.read_x.share for head in heads if not math.isnan(head.read_x.share)]
        shares[name] = (len(heads), _mean(values))
    texts = [f"{name} {significant(share)} ({count} heads)" for name, (count, share) in shares.items()]
    return (
        "Of the variance of what component tokens receive from the points, in heads that give these half of "
        f"the attention or more, x explains on average: {', '.join(texts)}. Where the untrained network or "
        "random directions have as much, reading x is the read-in's doing and not the training's."
    )


def _limits(blocks: EncodedBlocks) -> str:
    layers = blocks.networks["learned"]
    points = ", ".join(significant(layer.r2_points) for layer in layers)
    tokens = ", ".join(significant(layer.r2_tokens) for layer in layers)
    return (
        "What this cannot say: the encoders are linear, and means, weights and responsibilities are those of "
        "the network's own final estimate, so that a layer which works with earlier values, or holds them in "
        "another form, is missed. Of the variance of what the heads read, layer by layer on tasks not "
        f"fitted, the named variables explain at points {points}; at component tokens {tokens}. The strength "
        "of log r_ik is an average over all points, most of which have r_ik near 0, where its exact value "
        "hardly matters to softmax. A block in the scores is no proof of its use. Rotations of the stream "
        "are not among the symmetries removed: two networks trained from different starts would be far apart "
        "even if they computed alike."
    )


def _distance_table(found: WeightsResult) -> Table:
    copies, broken = found.symmetries.copies, found.symmetries.broken
    rows = {"copy of itself, the worst": max(copies, key=lambda row: row.after)}
    if broken is not None:
        rows["control: copy, units stretched"] = broken
    rows["control: untrained network"] = found.controls["untrained"]
    rows["control: random directions"] = found.controls["random"]
    note = (
        f"{len(copies)} copies, seed {found.seed}. Distances from the learned network, relative to its norm. "
        "Before: weight by weight. After: forms A = c W_Q W_K^T and V = W_V W_O of matched heads, matched "
        "hidden units, matched component tokens; the norms' gains and biases belong to the forms. Cosine: of "
        "the backbones' matched forms. A network of small weights is near 1 whatever its directions; random "
        "directions have the learned network's sizes, and its read-in and read-out."
    )
    return table_of(
        "Distance modulo the symmetries",
        rows.items(),
        [
            ("network", lambda row: row[0]),
            ("before", lambda row: significant(row[1].before)),
            ("after", lambda row: significant(row[1].after)),
            ("cosine", lambda row: significant(row[1].cosine)),
            *((name, lambda row, k=k: significant(row[1].by_kind.get(k))) for k, name in KINDS.items()),
        ],
        note,
    )


def _block_table(blocks: EncodedBlocks, verdicts: dict[str, Verdicts], seed: int) -> Table:
    own = verdicts["learned"]
    controls = {f"control: {name}": verdict for name, verdict in verdicts.items() if name != "learned"}
    rows = []
    for label, text in own.names.items():
        best = own.best[label]
        row = [
            text,
            own.verdict[label],
            f"{len(own.heads[label])} of {own.n_heads}",
            f"{best.layer}.{best.head}",
            f"{significant(best.sizes.size)} \u00b1 {significant(best.sizes.half_width)}",
            significant(blocks.floors[label]),
            *(significant(v) for v in (best.sizes.cosine, best.sizes.coefficient, best.score, best.mass)),
        ]
        for verdict in controls.values():
            other = verdict.best[label]
            numbers = f"{significant(other.sizes.size)}, {significant(other.sizes.cosine)}"
            row.append(f"{len(verdict.heads[label])} heads; {numbers}")
        rows.append(row)
    about = blocks.about
    note = (
        f"{about.tasks - about.fit} tasks of {about.N} points, K = {about.K}, d = {about.d}, seed {seed}; "
        f"encoders fitted on {about.fit} others. A head has a block if its cosine with EM's term is at least "
        f"{own.least_cosine:g}, its attention on these keys at least {own.least_mass:g} (with less it does "
        f"nothing with them), its size at least {own.least_size:g} nats, and the lower end of the size's 95 "
        f"% interval above the floor, the largest size that any head has in {about.shuffles} shufflings of "
        "the variables over tasks, and for the learned network above every head of the untrained one. Weak: "
        f"less than {own.least_coefficient:g} of EM's strength in every head (coefficient; EM has 1). "
        "Nearest head: largest size times cosine, of those that have the block, or else of all. Size: "
        "standard deviation over the keys of a query; score: the same of the whole score. Attention: mean "
        "weight on these keys. Controls, by the same rules: the untrained network, and one more shuffling; "
        "heads that pass, size and cosine of the nearest. A block of one number always has cosine 1 or -1: "
        "only its size tells."
    )
    header = ["block", "verdict", "heads", "nearest", "size, nats", "floor", "cosine", "coefficient"]
    return Table("EM's score blocks", [*header, "score", "attention", *controls], rows, note)


def _beyond_table(blocks: EncodedBlocks, seed: int) -> Table:
    rows = [
        [
            _attending(row),
            f"{row.query} (query), {row.key} (key)",
            f"{row.best.layer}.{row.best.head}",
            f"{significant(row.best.sizes.size)} \u00b1 {significant(row.best.sizes.half_width)}",
            *(significant(v) for v in (row.best.score, row.best.mass, row.untrained, row.shuffled)),
            str(row.heads),
        ]
        for row in largest_beyond(blocks)[:MOST_BEYOND]
    ]
    about = blocks.about
    note = (
        f"The {MOST_BEYOND} largest blocks at most, of those between any two named variables that EM has "
        f"not; seed {seed}, the tasks of the table above. Listed where the lower end of the 95 % interval "
        f"exceeds every head of the untrained network and of {about.shuffles} shufflings (the two controls; "
        f"what a shuffling leaves does not depend on the task), from {NATS:g} nats and {SHARE:.0%} of the "
        f"whole score on, with {LEAST_MASS:.0%} of the attention or more on these keys. One block can stand "
        "for another that is correlated with it."
    )
    header = ["who", "block", "head", "size, nats", "score", "attention"]
    header += ["control: untrained", "control: shuffled", "heads that pass"]
    rows = rows or [["none", *[""] * (len(header) - 1)]]
    return Table("Score blocks beyond EM", header, rows, note)
