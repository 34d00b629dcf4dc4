"""Parts of an MLP compiled alone, to be run on numbers of any dtype."""

import torch
from torch import Tensor

from constructions import Construction, Layer, PiecewiseLinear, Score, SoftmaxHead, Stream, apply, clear, pick


def hinge_sum(f: PiecewiseLinear, x: Tensor) -> Tensor:
    """f as the MLP of a compiled layer, on each entry of x, in the dtype of x."""
    s = Stream(read=1, write=1, junk=1, one=1)
    head = SoftmaxHead(Score(), s.one, s.junk)
    layer = Layer("trial", (head,), (apply(f, s.read, s.write), clear(s.junk)))
    transformer = Construction("trial", "a test", s, (s.read, s.one), (layer,)).to_transformer(x.dtype)
    h = x.new_zeros(1, len(x), s.width)
    h[0, :, 0], h[0, :, s.one.start] = x, 1.0
    with torch.no_grad():
        return transformer.layers[0].mlp(h)[0, :, s.write.start]


def picked(x: Tensor, by: Tensor, bound: float) -> Tensor:
    """``pick`` as the MLP of a compiled layer: (n, w), (n, w) -> (n,), in the dtype of x."""
    w = x.shape[1]
    s = Stream(read=w, by=w, write=1, junk=1, one=1)
    head = SoftmaxHead(Score(), s.one, s.junk)
    layer = Layer("trial", (head,), (pick(s.read, by=s.by, write=s.write, bound=bound), clear(s.junk)))
    transformer = Construction("trial", "a test", s, (s.read, s.by, s.one), (layer,)).to_transformer(x.dtype)
    h = x.new_zeros(1, len(x), s.width)
    h[0, :, s.read.slice], h[0, :, s.by.slice], h[0, :, s.one.start] = x, by.to(x.dtype), 1.0
    with torch.no_grad():
        return transformer.layers[0].mlp(h)[0, :, s.write.start]
