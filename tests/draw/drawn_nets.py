"""What the figures are tested with: the kinds of nets, as options of the fixture `unrolled`; and the views."""

import pytest

import tinygrad_rnn as tg

SVG = "{http://www.w3.org/2000/svg}"
VIEWS = {"forward": tg.draw.forward, "backward": tg.draw.backward}

NETS = {
    "plain": {},
    "stacked": {"num_layers": 2},
    "LSTM": {"kind": "LSTM"},
    "GRU": {"kind": "GRU"},
    "many": {"many": True},
    "stacked many": {"num_layers": 2, "many": True},
    "stacked LSTM": {"kind": "LSTM", "num_layers": 2},
}

every_net = pytest.mark.parametrize("net", NETS)
each_view = pytest.mark.parametrize("view", VIEWS)
