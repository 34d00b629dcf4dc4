"""What the figure of a layer shows of a stream of many blocks."""

from constructions import Construction, Layer, SoftmaxHead, Stream, dot, move
from constructions.language.plotting import MOST_BLOCKS
from constructions.language.stream import Operand


def test_of_a_stream_of_many_blocks_a_figure_shows_those_that_the_layer_touches():
    """Their names, in the order of the stream, and what the matrices hold there."""
    many = Stream(**{f"b{i}": 1 + i % 2 for i in range(MOST_BLOCKS + 2)})
    read, write, unread = many.b3, many.b7, many.b12
    head = SoftmaxHead(dot(Operand(read, "query"), Operand(read, "key")), read, write)
    layer = Layer("one head", (head,), (move(write, many.b9),))
    built = Construction("many blocks", "a test", many, (read, unread), (layer,))
    (figure,) = built.plot_weights()
    axes = [a for a in figure.axes if a.get_title()]
    names = {tuple(label.get_text() for label in a.get_yticklabels()) for a in axes}
    assert names == {("b3", "b7", "b9"), ("b3", "b7", "b9", "b_1")}
    query = axes[0].images[0].get_array()
    assert query.shape == (read.width + write.width + many.b9.width, read.width)
    assert query[: read.width].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert not query[read.width :].any()
