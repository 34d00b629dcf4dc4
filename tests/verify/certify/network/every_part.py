"""A construction with every kind of head and MLP part, in numbers that no dtype below float64 holds."""

from constructions.language.assembly import Construction, Layer
from constructions.language.curves import log
from constructions.language.gates import apply_where, contract, pick
from constructions.language.heads import SoftmaxHead, linear_pair
from constructions.language.mlp import apply, clear, copy, summed
from constructions.language.piecewise import chords, geometric
from constructions.language.program import Repeat, in_order
from constructions.language.scores import dot, key_only
from constructions.language.stream import Stream


def every_part() -> Construction:
    """Softmax and ReLU layers, a loop within the pass, a norm."""
    s = Stream(x=2, y=4, gate=2, one=1, a=1, b=4, c=2, d=2, e=1, f=1, g=1, z=2)
    f = chords(log, geometric(0.3, 2.9, 5), anchor=2, inputs=(0.1, 3.3))
    parts = Layer(
        "parts",
        heads=(SoftmaxHead(0.3 * dot(s.query.x, s.key.x) - 0.7 * key_only(s.key.one), s.x, s.c, 1.1),),
        mlp=(
            apply(f, s.x, s.a, scale=0.1),
            apply(f, s.x, s.b, scale=1.3, minus=s.y),
            apply_where(f, s.y.part(0), s.gate, s.e, (0.2, 0.7)),
            summed(apply(f, s.y.part(1), s.f), pick(s.x, s.gate, s.f, 4.1), apply(f, s.one, s.f, 0.3)),
            contract(s.y, s.gate, s.d, 3.7),
            copy(s.y.part(2), s.g, 0.9),
        ),
        unit_output=True,
    )
    again = Layer(
        "again",
        heads=(linear_pair(0.2 * dot(s.query.x, s.key.c), s.x, s.z, 0.6),),
        mlp=(apply(f, s.y.part(3), s.a, 0.7, overwrite=True), clear(s.z)),
    )
    layers, order = in_order(parts, Repeat(2, (again,)))
    return Construction("every part", "a test", s, (s.x, s.y, s.gate, s.one), layers, order=order)
