"""What other tools draw and print of a recurrent net over two steps: the comparison in README.md, to look up.

    python -m venv peers && peers/bin/pip install torch torchviz torchlens torchview torchvista jax mygrad keras
    peers/bin/python examples/peers.py        for whichever of them are installed

tinygrad_rnn need not be. Layout engines are left out: what stands here are the graphs before they are drawn.
"""

import importlib.metadata
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
ALIKE = np.eye(3), np.ones(3)  # U, h


def unrolled(U, h, tanh):
    """The loss, for any library whose arrays have NumPy's operators."""
    for _ in range(2):
        h = tanh(U @ h)
    return h.sum()


def torch_net():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.readout = torch.nn.RNNCell(2, 3), torch.nn.Linear(3, 1)

        def forward(self, xs):
            h = torch.zeros(1, 3)
            for x in xs:
                h = self.cell(x[None], h)
            return self.readout(h)

    return Net(), torch.ones(2, 2)


def torch():
    """The backward pass as code: a primitive a line, numbered, without names or steps."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(torch.func.grad(lambda U, h: unrolled(U, h, torch.tanh)))(*map(torch.from_numpy, ALIKE)).code


def torchviz():
    """The backward nodes of autograd; leaves have the names they are given. It needs Graphviz's dot."""
    import torchviz

    net, xs = torch_net()
    return torchviz.make_dot(net(xs).sum(), params=dict(net.named_parameters())).source


def torchlens():
    """The operations of a forward pass, each with the pass of its module; .draw() needs Graphviz's dot."""
    import torchlens

    net, xs = torch_net()
    return torchlens.trace(net, xs)


def torchview():
    """A forward graph of Tensors and modules, folded or not; it needs Graphviz's dot."""
    import torchview

    net, xs = torch_net()
    return torchview.draw_graph(net, input_data=xs, device="cpu", expand_nested=True).visual_graph.source


def torchvista():
    """A forward graph of modules to click through, in a notebook, laid out by a script that comes with it."""
    import torchvista

    return "layout: " + ", ".join(p.name for p in Path(torchvista.__file__).parent.rglob("viz*.js"))


def jax():
    """The backward pass as a jaxpr: a primitive a line, lettered, without names or steps; no drawing."""
    import jax
    import jax.numpy as jnp

    return jax.make_jaxpr(jax.grad(lambda U, h: unrolled(U, h, jnp.tanh)))(*ALIKE)


def mygrad():
    """A forward graph with the names it is given, one for each array; it needs Graphviz's dot."""
    import mygrad
    from mygrad.computational_graph import build_graph

    U, h = map(mygrad.tensor, ALIKE)
    return build_graph(unrolled(U, h, mygrad.tanh), names={"U": U, "h": h}).source


def keras():
    """The layers of a model, a recurrent one as one box; it needs pydot and Graphviz's dot."""
    import keras

    layers = keras.layers.Input((2, 2)), keras.layers.SimpleRNN(3), keras.layers.Dense(1)
    return keras.utils.model_to_dot(keras.Sequential(layers))


def main():
    for show in (torch, torchviz, torchlens, torchview, torchvista, jax, mygrad, keras):
        try:
            shown = str(show())
        except ImportError as error:
            print(f"== {show.__name__} is left out: {error}\n")
            continue
        print(f"== {show.__name__} {importlib.metadata.version(show.__name__)}: {show.__doc__}\n\n{shown[:2500]}\n")


if __name__ == "__main__":
    main()
