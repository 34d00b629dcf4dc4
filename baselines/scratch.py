"""Memory that is written over again and again: a large array that is freed costs its pages anew each time."""

import torch
from torch import Tensor


class Scratch:
    """Arrays by name, of one dtype on one device; what `take` gives is overwritten by its next use."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An array of this shape, its values anything."""
        view = self._views.get((name, shape))
        if view is None:
            size = torch.Size(shape).numel()
            memory = self._memory.get(name)
            if memory is None or len(memory) < size:
                memory = self._memory[name] = self._like.new_empty(size)
                self._views = {key: value for key, value in self._views.items() if key[0] != name}
            view = self._views[name, shape] = memory[:size].view(shape)
        return view
