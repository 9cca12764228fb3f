"""What the figures are tested with: the kinds of nets, as options of the fixture `unrolled`; and the views."""

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
