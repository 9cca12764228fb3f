"""The room for words."""

import pytest

from tinygrad_rnn.draw import layout, style


@pytest.mark.parametrize(
    "text",
    ["mmmm", "WWWW", "dW", "hidden state", 24 * "x", "iiii", "字字", "0.00938, 0.0322", "DYNAMO", "(…[…] + …[…])"],
)
def test_words_are_given_as_much_room_as_graphviz_sets_them_in(text):
    source = f'digraph {{ layout=dot node [shape=plain fontname="{style.FONT}" fontsize=16] a [label="{text}"] }}'
    words = next(line for line in layout.render(source, "plain").decode().splitlines() if line.startswith("node"))
    assert style.text_width(text, 16) > 0.96 * 72 * float(words.split()[4])


@pytest.mark.parametrize("words, width", [("dU(2)", 2.388), ("Softmax", 3.112), ("dh", 1.0), ("BPTT", 3.0)])
def test_times_is_measured(words, width):
    """Widths of Times Roman, in parts of the font size, from its Adobe metrics."""
    assert style.times_width(words, 1.0) == pytest.approx(width, rel=0.15)
