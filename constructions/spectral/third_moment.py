"""The whitened third moment T from the points.

    y = W x,   h = W m
    T_abc = (1/N) sum_i y_a y_b y_c - s sum_p (h_a W_bp W_cp + W_ap h_b W_cp + W_ap W_bp h_c)

With products read in, exactly. Products of y are linear in those of x, and are whitened in two contractions,
through the tokens (p, q):

    half_(pb) = sum_q (x x^T - s I)_pq W_bq          lift(p, q) = e_p (x) W_.q
    yy_(bc) = sum_p half_(pc) W_bp                   lift(b, p) = e_b (x) W_.p, asked by the entries (p, b)

The first term of the noise is in x x^T - s I. The two others are a sum over coordinates p of yy = h (x) W_.p
+ W_.p (x) h with y / N = -s W_.p: coordinate tokens are points of this kind, and hold 2 e_p (x) h in the
place of half. That makes 2 W_.p (x) h of it, and T is not symmetric in b and c; but it meets v_b v_c alone.

From points alone, 4 y_b y_c = (y_b + y_c)^2 - (y_b - y_c)^2 with squares by the MLP. The noise is then points
as well, since sum_p of its three terms is sum_p ((h + W_.p)^3 + (h - W_.p)^3) / 2 - h^3 in tensor powers:
tokens with y = h + W_.p, h - W_.p and h, and weights -s/2, -s/2 and s in the place of 1/N.
"""

from __future__ import annotations

from constructions.language.assembly import Layer
from constructions.language.gates import place
from constructions.language.heads import linear_pair
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.stream import Stream
from constructions.matrices.products import score, times, times_transposed, total, transposed_times


def project_layer(s: Stream, gate: float) -> Layer:
    """y / N of the points, h, the columns of W at the pairs; placed, where a product needs them.

    ``gate`` bounds the entries of W and of h.
    """
    share = score(s.xn, s.W) - score(s.sI, s.W)
    return Layer(
        "project",
        heads=(
            linear_pair(share, s.row, s.yn),
            times_transposed(s.m, s.W, s.row, s.h),
            times_transposed(s.second, s.W, s.row, s.Wq),
        ),
        mlp=(
            place(s.Wq, by=s.first, write=s.lift, bound=gate),
            place(s.h, by=s.id, write=s.noise, bound=gate),
        ),
    )


def half_layer(s: Stream) -> Layer:
    """``(x x^T - s I) W^T`` of every point."""
    noise = linear_pair(score(s.data, s.trace), s.lift, s.half, -1.0)
    return Layer("whiten one side", heads=(total(times(s.xx, s.pair, s.lift, s.half), noise),))


def both_layer(s: Stream) -> Layer:
    """``W (x x^T - s I) W^T`` of every point, and the noise at the coordinates."""
    K = s.row.width
    asked = score(s.half, s.turned) + 2.0 * score(s.noise, s.turned)
    return Layer("whiten both", heads=(linear_pair(asked, s.lift.part(0, K * K), s.yy),))


def from_products(s: Stream, gate: float) -> tuple[Layer, ...]:
    """``T[:, b, c]`` at the entries, from x and x x^T."""
    moment = Layer("third moment", heads=(transposed_times(s.entry, s.yy, s.yn, s.T),))
    return project_layer(s, gate), half_layer(s), both_layer(s), moment


def from_squares(s: Stream, square: PiecewiseLinear) -> tuple[Layer, ...]:
    """The same from x alone."""
    point = score(s.x, s.W) + score(s.mx, s.W)
    weights = -0.5 * score(s.s_plus, s.W) + 0.5 * score(s.s_minus, s.W) + score(s.mxn, s.W)
    project = Layer(
        "project",
        heads=(linear_pair(point, s.row, s.y), linear_pair(score(s.xn, s.W) + weights, s.row, s.yn)),
    )
    squares = Layer(
        "squares",
        heads=(
            times(s.y, s.axis_sum, s.entry, s.y_sum),
            times(s.y, s.axis_difference, s.entry, s.y_difference),
        ),
        mlp=(
            apply(square, read=s.y_sum, write=s.sum2),
            apply(square, read=s.y_difference, write=s.difference2),
            clear(s.y_sum),
            clear(s.y_difference),
        ),
    )
    product = 0.25 * score(s.entry, s.sum2) - 0.25 * score(s.entry, s.difference2)
    return project, squares, Layer("third moment", heads=(linear_pair(product, s.yn, s.T),))
