"""Coming from PyTorch: both columns of the README's table, and five scripts as they are written there and here."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def imported():
    """PyTorch, from the first test on, and not already where tests are collected: of xdist's processes few need it."""
    global torch, F
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)  # its others wait by spinning, which costs more than these small nets
    F = torch.nn.functional


def rows():
    """The code in the two columns of each row of the table."""
    section = re.search(r"## Coming from PyTorch\n(.*?)\n## ", README, re.DOTALL)[1]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[re.findall("`([^`]+)`", cell) for cell in line] for line in lines]


def scopes(path):
    """What the code of a row speaks of: in PyTorch, and here, with the same numbers."""
    rng, net = np.random.default_rng(0), tg.nn.Linear(2, 3, rng=0)
    arrays = {name: rng.random((2, 3)) for name in "styYzq"} | {"xs": rng.random((3, 2, 2)), "labels": np.array([2, 0])}
    plain = {"a": [[1.0, 2.0]], "lengths": [3, 2], "path": path}
    plain["f"] = lambda x, *Y: ((net(x) - 1.0) ** 2).sum() if Y else x  # a loss, and a hook
    theirs = torch.nn.Linear(2, 3, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(x) for name, x in tg.to_torch(net).items()})
    there = {name: torch.tensor(x, requires_grad=name == "t") for name, x in arrays.items()} | {
        "torch": torch, "nn": torch.nn, "F": F, "optim": torch.optim, "net": theirs, "p": theirs.weight,
        "lstm": torch.nn.LSTM(2, 3, dtype=torch.float64), "clip_grad_norm_": torch.nn.utils.clip_grad_norm_,
        "pack_padded_sequence": torch.nn.utils.rnn.pack_padded_sequence,
        "CosineAnnealingLR": torch.optim.lr_scheduler.CosineAnnealingLR,
    }  # fmt: skip
    here = {name: tg.Tensor(x, requires_grad=name == "t") for name, x in arrays.items()} | {
        "tg": tg, "nn": tg.nn, "optim": tg.optim, "net": net, "p": net.V, "lstm": tg.nn.LSTM(2, 3), "theirs": theirs,
    }  # fmt: skip
    for side in (there, here):
        side |= plain
        side["h"] = side["net"](side["xs"])
        side["loss"] = (side["h"] ** 2).sum()
    return there, here


def run(code, scope):
    """The value of an expression, or None after a statement."""
    try:
        return eval(code, scope)
    except SyntaxError:
        return exec(code, scope)


def number(x):
    x = x.detach().numpy() if isinstance(x, torch.Tensor) else x.data if isinstance(x, tg.Tensor) else x
    return np.asarray(x) if isinstance(x, (np.ndarray, int, float)) else None


@pytest.mark.parametrize("left, right", rows())
def test_a_row_says_the_same_in_both_columns(left, right, tmp_path):
    others = ("torch.compile(f)", "out", "lr")  # which takes long; and words of the text
    values = [
        [number(run(code, scope)) for code in side if code not in others]
        for side, scope in zip((left, right), scopes(tmp_path / "net.npz"), strict=True)
    ]
    pairs = [(x, y) for x, y in zip(*values, strict=False) if x is not None and y is not None]
    for x, y in pairs:
        np.testing.assert_allclose(y, x, rtol=1e-12)
    assert pairs or not re.match(r"t\.|F\.|clip|torch\.(tensor|cat)|loss", left[0])


def test_the_table_has_twenty_rows():
    assert len(rows()) == 20


# Five scripts. The nets have no biases where PyTorch's has two of them, which its optimizers move twice as far.


def alike(theirs, ours):
    """Give our modules the weights of PyTorch's."""
    for a, b in zip(theirs, ours, strict=True):
        tg.from_torch(b, a)


def test_a_line_by_hand():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 2))
    y = X @ [2.0, -1.0] + 0.5

    x, target = torch.tensor(X), torch.tensor(y)
    w, b = torch.zeros(2, dtype=torch.float64, requires_grad=True), torch.zeros(1, requires_grad=True)
    expected = []
    for _ in range(30):
        loss = ((x @ w + b - target) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p -= 0.1 * p.grad
                p.grad = None
        expected.append(loss.item())

    w, b = tg.Tensor(np.zeros(2), requires_grad=True), tg.Tensor(np.zeros(1), requires_grad=True)
    losses = []
    for _ in range(30):
        loss = ((X @ w + b - y) ** 2).mean()
        loss.backward()
        for p in (w, b):
            p.data -= 0.1 * p.grad
            p.grad = None
        losses.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)  # PyTorch's b is float32


def test_an_lstm_that_forecasts():
    series = np.sin(np.arange(60) / 3.0)
    windows = np.stack([series[i : i + 12] for i in range(40)])[:, :, None]  # batch first, as PyTorch's loaders have it
    targets = series[12:52, None]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(1, 8, num_layers=2, bias=False, batch_first=True)
            self.readout = torch.nn.Linear(8, 1)

        def forward(self, xs):
            out, (_h, _c) = self.lstm(xs)
            return self.readout(out[:, -1])

    class OurNet(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = tg.nn.LSTM(1, 8, num_layers=2, bias=False)
            self.readout = tg.nn.Linear(8, 1)

        def forward(self, xs):
            hs, _state = self.lstm(xs.swapaxes(0, 1))
            return self.readout(hs[-1])

    torch.manual_seed(0)
    theirs, ours = Net().double(), OurNet()
    alike([theirs], [ours])
    optimizer, expected = torch.optim.Adam(theirs.parameters(), lr=0.01), []
    x, y = torch.tensor(windows), torch.tensor(targets)
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse_loss(theirs(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        expected.append(loss.item())

    optimizer, losses = tg.optim.Adam(ours.parameters(), lr=0.01), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = tg.nn.squared_error(ours(windows), targets, reduction="mean")
        loss.backward()
        tg.optim.clip_grad_norm(ours.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)  # PyTorch's clipping divides by the norm plus 1e-6


@pytest.mark.parametrize("compiled", [False, True])
def test_a_word_level_model(compiled):
    """With an embedding and padded targets; the step of ours is compiled, too."""
    words = np.random.default_rng(0).integers(1, 7, (9, 4))  # time first
    words[6:, 1] = 0  # padding
    torch.manual_seed(0)
    theirs = torch.nn.Embedding(7, 3), torch.nn.LSTM(3, 5, bias=False), torch.nn.Linear(5, 7)
    embedding, lstm, readout = (module.double() for module in theirs)
    optimizer = torch.optim.AdamW([p for module in theirs for p in module.parameters()], lr=0.05)
    ours = tg.nn.Embedding(7, 3), tg.nn.LSTM(3, 5, bias=False), tg.nn.Linear(5, 7)
    alike(theirs, ours)
    x, expected = torch.tensor(words), []
    for _ in range(8):
        out, _state = lstm(embedding(x[:-1]))
        loss = F.cross_entropy(readout(out).reshape(-1, 7), x[1:].reshape(-1), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())

    embedding, lstm, readout = ours
    parameters = [p for module in ours for p in module.parameters()]
    optimizer, losses = tg.optim.AdamW(parameters, lr=0.05), []

    def loss_of(inputs, targets):
        hs, _state = lstm(embedding(inputs))
        return tg.nn.cross_entropy(readout(tg.stack(hs)), targets, reduction="mean", ignore_index=0)

    step = tg.compile(loss_of, words[:-1], words[1:], wrt=parameters).backward if compiled else None
    for _ in range(8):
        optimizer.zero_grad()
        if compiled:
            losses.append(step(words[:-1], words[1:]))
        else:
            loss = loss_of(words[:-1], words[1:])
            loss.backward()
            losses.append(loss.item())
        optimizer.step()
    np.testing.assert_allclose(losses, expected, rtol=1e-8)


def test_a_classifier_of_layers():
    """Dropout in evaluation only: no two libraries draw the same mask."""
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4)
    ).double()  # fmt: skip
    ours = tg.nn.Sequential(
        tg.nn.Linear(3, 8), tg.tanh, tg.nn.LayerNorm(8), tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(8, 4)
    )  # fmt: skip
    alike([theirs], [ours])
    optimizer = torch.optim.RMSprop(theirs.parameters(), lr=0.01, weight_decay=1e-3)
    scheduler, expected = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5), []
    theirs.eval()
    for _ in range(12):
        loss = F.cross_entropy(theirs(torch.tensor(X)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        expected.append(loss.item())

    optimizer, losses = tg.optim.RMSprop(ours, lr=tg.optim.staircase(0.01, 5, 0.5), weight_decay=1e-3), []
    ours.eval()
    for _ in range(12):
        loss = tg.nn.cross_entropy(ours(X), labels, reduction="mean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    ours.train()
    assert not np.array_equal(ours(X).data, ours(X).data)


def test_a_bidirectional_tagger_of_padded_sequences():
    rng, lengths = np.random.default_rng(0), [6, 4, 2]
    xs, tags = rng.standard_normal((6, 3, 2)), rng.integers(0, 2, (6, 3, 1)).astype(float)
    mask = (np.arange(6)[:, None] < lengths)[..., None]
    theirs = torch.nn.GRU(2, 4, bidirectional=True).double(), torch.nn.Linear(8, 1).double()
    ours = tg.nn.Bidirectional(tg.nn.GRU(2, 4), tg.nn.GRU(2, 4, reverse=True)), tg.nn.Linear(8, 1)
    alike(theirs, ours)

    net, readout = theirs
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(xs), lengths)
    optimizer = torch.optim.SGD([*net.parameters(), *readout.parameters()], lr=0.0)
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(net(packed)[0])
    each = F.binary_cross_entropy_with_logits(readout(out), torch.tensor(tags), reduction="none")
    expected = (each * torch.tensor(mask)).sum() / int(mask.sum())
    optimizer.zero_grad()
    expected.backward()

    net, readout = ours
    hs, _ = net(xs, lengths=lengths)
    each = tg.nn.binary_cross_entropy_with_logits(readout(tg.stack(hs)), tags, reduction="none")
    loss = (each * mask).sum() / mask.sum()
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(readout.V.grad, theirs[1].weight.grad.numpy(), rtol=1e-10)
    found = np.concatenate([getattr(net.back.cells[0], "U" + gate).grad for gate in ("_r", "_z", "_n")])
    np.testing.assert_allclose(found, theirs[0].weight_hh_l0_reverse.grad.numpy(), rtol=1e-9, atol=1e-14)
