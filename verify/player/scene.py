"""What a page of the player holds, whatever the theorem: layers, blocks, and the states between layers.

    Scene      layers with a name, formulas and heads; blocks; states; ``own``, what the picture needs
    State      what every block holds, and the attention weights that the layer before it used

Numbers are the run's, all digits. What many tokens share is stored once: ``classes`` are partitions of the
tokens, ``values`` distinct rows of a block, ``weights`` distinct rows and columns of an attention matrix.
A second theorem brings its ``own`` and a picture of it (a file SCENE.js); all else is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Own = TypeVar("Own")


@dataclass(frozen=True)
class BlockShown:
    """A block of the stream: its symbol as MathML, and what it holds in words."""

    name: str
    symbol: str
    width: int
    holds: str


@dataclass(frozen=True)
class HeadShown:
    """A head: the block that it writes, its formula as MathML, and where the picture ends its lines."""

    writes: str
    formula: str
    ends: str


@dataclass(frozen=True)
class LayerShown:
    """A layer.

    Attributes:
        name: as in the layer table. does: in words. step: the formula of the algorithm that it stands for,
            as MathML. norm: of what the heads add, as MathML; "" without. mlp: one formula a part.
        written, emptied: names of blocks.
    """

    name: str
    does: str
    step: str
    heads: list[HeadShown]
    norm: str
    mlp: list[str]
    written: list[str]
    emptied: list[str]


@dataclass(frozen=True)
class Values:
    """Distinct rows of a block (C, width); a token holds that of its class in partition ``of``."""

    rows: list[list[float]]
    of: int


@dataclass(frozen=True)
class Weights:
    """Attention: token i gives ``rows[class of i in queries][class of j in keys]`` to token j."""

    rows: list[list[float]]
    queries: int
    keys: int


@dataclass(frozen=True)
class State:
    """The stream after a layer.

    Attributes:
        step: steps of the algorithm that are done. layer: the one just applied; None at the start.
        blocks: of the blocks that hold a value, places in ``Scene.values``.
        heads: of each head of that layer, a place in ``Scene.weights``.
    """

    step: int
    layer: int | None
    blocks: dict[str, int]
    heads: list[int]


@dataclass(frozen=True)
class Recorded:
    """The states of a run, and what they refer to."""

    tokens: int
    classes: list[list[int]]
    values: list[Values]
    weights: list[Weights]
    states: list[State]


@dataclass(frozen=True)
class Column:
    """A column of the table of errors.

    Attributes:
        group, heading: above it. key: the place of its numbers in what the picture holds of a step.
        printed: the same numbers as text, step by step, a row a component.
    """

    group: str
    heading: str
    key: str
    printed: list[list[str]]


@dataclass(frozen=True)
class Scene(Generic[Own]):
    """Everything in a page.

    Attributes:
        kind: which picture, a file ``KIND.js`` beside this one. title: of the page. notes: below it.
    """

    kind: str
    title: str
    notes: list[str]
    blocks: list[BlockShown]
    layers: list[LayerShown]
    run: Recorded
    own: Own
