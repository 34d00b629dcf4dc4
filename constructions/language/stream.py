"""The residual stream as named blocks, and the two roles a block plays in a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["query", "key"]


@dataclass(frozen=True)
class Block:
    """Columns ``start : start + width`` of the residual stream, under a name.

    Prints as ``x[0:8]``. ``x.part(2)`` is its third column as a block that can be read, ``x.part(1, 4)`` its
    second four.
    """

    name: str
    start: int
    width: int
    part_of: Block | None = None

    def part(self, index: int, width: int = 1) -> Block:
        """Columns ``index * width : (index + 1) * width`` of this block, named ``x.index``.

        Raises:
            ValueError: columns that the block has not got, or a part of a part.
        """
        if self.part_of is not None:
            raise ValueError(f"{self!r} is itself a part of {self.part_of!r}; take parts of that")
        if width < 1 or not 0 <= index < self.width // width:
            raise ValueError(
                f"{self!r} has no part {index} of width {width}; it has {self.width // max(width, 1)}"
            )
        return Block(f"{self.name}.{index}", self.start + index * width, width, self)

    @property
    def whole(self) -> Block:
        """The block of the stream that this is, or is a part of."""
        return self if self.part_of is None else self.part_of

    @property
    def slice(self) -> slice:
        """The columns of the block, for ``H[..., block.slice]``."""
        return slice(self.start, self.start + self.width)

    @property
    def columns(self) -> range:
        """The columns of the block one by one."""
        return range(self.start, self.start + self.width)

    def __repr__(self) -> str:
        return f"{self.name}[{self.start}:{self.start + self.width}]"


@dataclass(frozen=True)
class Operand:
    """A block read by the attending token (query) or by the attended one (key)."""

    block: Block
    role: Role

    def part(self, index: int, width: int = 1) -> Operand:
        """A part of the block in the same role; see :meth:`Block.part`."""
        return Operand(self.block.part(index, width), self.role)

    def __repr__(self) -> str:
        return f"{self.role[0]}.{self.block.name}"


class Stream:
    """A residual stream laid out as consecutive named blocks.

    ``Stream(x=8, mu=8, one=1)`` is a stream of width 17 whose attributes ``x``, ``mu`` and ``one`` are
    :class:`Block` objects. ``stream.query.x`` and ``stream.key.x`` are the same block in its two roles
    in an attention score.

    Args:
        **widths: block name to number of columns, each at least 1.

    Raises:
        ValueError: a width below 1, or a name that the class itself uses.
    """

    _blocks: dict[str, Block]
    _width: int

    def __init__(self, **widths: int) -> None:
        blocks: dict[str, Block] = {}
        start = 0
        for name, width in widths.items():
            if hasattr(Stream, name):
                raise ValueError(f"block name {name!r} is taken by Stream itself; choose another")
            if width < 1:
                raise ValueError(f"block {name!r} has width {width}; a width is at least 1")
            blocks[name] = Block(name, start, width)
            start += width
        object.__setattr__(self, "_blocks", blocks)
        object.__setattr__(self, "_width", start)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a stream is fixed when it is made; {name!r} cannot be set")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in the order of their columns."""
        return tuple(self._blocks.values())

    @property
    def width(self) -> int:
        """Number of columns, the model width D."""
        return self._width

    @property
    def query(self) -> RoleView:
        """The blocks as read by the attending token i."""
        return RoleView(self, "query")

    @property
    def key(self) -> RoleView:
        """The blocks as read by the attended token j."""
        return RoleView(self, "key")

    def __getattr__(self, name: str) -> Block:
        blocks = self.__dict__.get("_blocks", {})
        if name in blocks:
            return blocks[name]
        raise AttributeError(f"no block {name!r} in the stream; it has {', '.join(blocks) or 'none'}")

    def __contains__(self, name: str) -> bool:
        return name in self._blocks

    def __repr__(self) -> str:
        return f"Stream({', '.join(map(repr, self.blocks))})"


@dataclass(frozen=True)
class RoleView:
    """A stream seen from one side of a score: attributes are :class:`Operand` objects."""

    stream: Stream
    role: Role

    def __getattr__(self, name: str) -> Operand:
        if name in ("stream", "role"):  # a copy asks for them before it has them
            raise AttributeError(name)
        return Operand(getattr(self.stream, name), self.role)
