"""Layers without a state: PyTorch's numbers where it is installed, and differences, figures and programs."""

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.random.default_rng(0).standard_normal((4, 3))


def test_an_embedding_is_the_product_with_a_one_hot_vector():
    embedding, words = tg.nn.Embedding(5, 3, rng=0), np.array([[1, 4], [1, 0]])
    found = embedding(words)
    np.testing.assert_array_equal(found.data, np.eye(5)[words] @ embedding.E.data)
    (found * found).sum().backward()  # word 1 comes twice: its row has two terms
    np.testing.assert_allclose(embedding.E.grad, 2 * np.array([1, 2, 0, 0, 1])[:, None] * embedding.E.data, rtol=1e-15)


def test_a_layer_norm_has_mean_0_and_variance_1():
    layer = tg.nn.LayerNorm(3, eps=1e-12)
    y = layer(X).data
    np.testing.assert_allclose(y.mean(-1), 0.0, atol=1e-15)
    np.testing.assert_allclose(y.var(-1), 1.0, rtol=1e-9)
    layer.gamma.data, layer.beta.data = [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]
    np.testing.assert_allclose(layer(X).data, 2.0 * y + [1.0, 2.0, 3.0], rtol=1e-14)


def test_dropout_keeps_the_mean_while_it_is_trained_and_does_nothing_after():
    dropout, ones = tg.nn.Dropout(0.25, rng=0), np.ones((100, 100))
    y = dropout(ones).data
    assert set(np.unique(y)) == {0.0, 1 / 0.75} and abs(y.mean() - 1.0) < 0.02
    assert not np.array_equal(dropout(ones).data, y)
    again = tg.nn.Dropout(0.25, rng=0)(ones).data
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(dropout.eval()(ones).data, ones)
    assert dropout.train() is dropout and dropout.training
    assert tg.nn.Dropout(1.0)(ones).data.max() == 0.0 and tg.nn.Dropout(0.0)(ones).data.min() == 1.0
    assert tg.nn.Dropout()(np.ones(2, np.float32)).dtype == np.float32


def test_the_gradient_goes_where_the_mask_is():
    x, mask = tg.Tensor(X, requires_grad=True), tg.nn.Dropout(0.5, rng=0).mask((4, 3))
    tg.nn.Dropout(0.5)(x, mask).sum().backward()
    np.testing.assert_array_equal(x.grad, mask)


def test_train_and_eval_reach_every_module():
    class Net(tg.nn.Module):
        def __init__(self):
            self.parts = [tg.nn.Dropout(), {"inner": tg.nn.Sequential(tg.nn.Dropout())}]

    net = Net()
    inner = net.parts[1]["inner"]
    assert inner.training
    assert not net.eval().training and not getattr(inner, "0").training
    assert net.train().training and getattr(inner, "0").training
    with pytest.raises(ValueError, match="train.mode='yes'.: not one of True, False"):
        net.train("yes")


def test_a_module_may_state_its_equations_in_forward():
    class Net(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = tg.nn.Linear(3, 1, rng=0)

        def forward(self, x, scale=1.0):
            return self.layer(x) * scale

    net = Net()
    np.testing.assert_array_equal(net(X, scale=2.0).data, 2.0 * net.layer(X).data)
    with pytest.raises(AttributeError, match="has no attribute 'forward'"):
        tg.nn.Module()(X)


def test_first_and_second_derivatives():
    embedding, norm, words = tg.nn.Embedding(4, 3, rng=0), tg.nn.LayerNorm(3), np.array([0, 2, 2])
    mask = tg.nn.Dropout(rng=0).mask((3, 3))

    def loss(E, gamma, beta):
        vars(embedding)["E"], vars(norm)["gamma"], vars(norm)["beta"] = E, gamma, beta
        return (tg.nn.Dropout()(norm(embedding(words)), mask) ** 3).sum()

    tg.check_gradients(loss, embedding.E, norm.gamma, norm.beta, order=2)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_program_reads_word_numbers_and_masks_at_each_call(optimize):
    embedding, rnn, readout = tg.nn.Embedding(5, 3, rng=0), tg.nn.RNN(3, 4, rng=1), tg.nn.Linear(4, 5, rng=2)
    dropout, norm = tg.nn.Dropout(0.5, rng=3), tg.nn.LayerNorm(4)
    parameters = [p for module in (embedding, rnn, norm, readout) for p in module.parameters()]

    def loss(words, targets, mask):
        hs, _ = rnn(embedding(words))
        return tg.nn.cross_entropy(readout(dropout(norm(tg.stack(hs)), mask)), targets, "mean", ignore_index=-1)

    def inputs(seed):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 5, (6, 2)), rng.integers(-1, 5, (6, 2)), dropout.mask((6, 2, 4))

    program = tg.compile(loss, *inputs(0), wrt=parameters, optimize=optimize, retrace=False)
    for seed in (1, 2):
        words, targets, mask = inputs(seed)
        expected = loss(words, targets, mask)
        found, gradients = program(words, targets, mask)
        assert found == pytest.approx(expected.item(), rel=1e-12)
        for found, wanted in zip(gradients, tg.grad(expected, parameters), strict=True):
            np.testing.assert_allclose(found, wanted.data, rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="Embedding: word numbers are 0 to 4, not int64 from -1 to 4|retrace=False"):
        program(words - 1, targets, mask)
    assert "word_number" in program.source and compile(program.source, "bptt", "exec")


def test_a_program_refuses_a_mask_that_is_drawn_and_follows_train_and_eval():
    dropout, p = tg.nn.Dropout(0.5, rng=0), tg.nn.Parameter(np.ones(100))
    with pytest.raises(ValueError, match="what is drawn at random.* has to be an input"):
        tg.compile(lambda x: dropout(p * x).sum(), np.ones(100), wrt=[p])
    dropout.eval()
    program = tg.compile(lambda x, mask: dropout(p * x, mask).sum(), np.ones(100), np.zeros(100), wrt=[p])
    assert program(np.ones(100), np.zeros(100))[0] == 100.0
    dropout.train()
    assert program(np.ones(100), np.zeros(100))[0] == 0.0


@pytest.mark.parametrize("level", ["named", "primitives"])
def test_they_are_drawn(level, tmp_path):
    embedding, rnn, readout = tg.nn.Embedding(5, 2, rng=0, name="in"), tg.nn.RNN(2, 3, rng=1), tg.nn.Linear(3, 5, rng=2)
    hs, _ = rnn(embedding([3, 1]))
    y = readout(tg.nn.Dropout(0.5, rng=0)(tg.nn.LayerNorm(3)(hs[-1])))
    loss = tg.nn.cross_entropy(y, 2)
    for draw in (tg.draw.forward, tg.draw.backward):
        labels = {node.label.split("\n")[0] for node in draw(loss, level=level).nodes}
        letters = ("E_in", "γ", "β") if draw is tg.draw.forward else ("dE_in", "dγ", "dβ")
        assert labels.issuperset(letters)
    tg.draw.backward(loss, level=level).save(tmp_path / "x.svg")
    tg.draw.forward(loss, level=level).save(tmp_path / "x.html")


def test_they_are_saved_and_loaded(tmp_path):
    nets = [tg.nn.Sequential(tg.nn.Embedding(5, 3, rng=i), tg.nn.LayerNorm(3), tg.nn.Dropout()).eval() for i in (0, 1)]
    getattr(nets[0], "1").gamma.data = [1.0, 2.0, 3.0]
    tg.save(tmp_path / "net.npz", nets[0])
    assert list(nets[0].state_dict()) == ["0.E", "1.gamma", "1.beta"]
    tg.load(tmp_path / "net.npz", nets[1])
    np.testing.assert_array_equal(*(net([4, 0]).data for net in nets))


@pytest.mark.parametrize("call, error, message", [
    (lambda: tg.nn.Embedding(0, 3), ValueError, r"Embedding\(num_embeddings=0\): a whole number from 1 up"),
    (lambda: tg.nn.Embedding(5, 3.0), TypeError, r"Embedding\(embedding_dim=3.0\): a whole number from 1 up"),
    (lambda: tg.nn.Embedding(5, 3)([0, 5]), ValueError, "Embedding: word numbers are 0 to 4, not int64 from 0 to 5"),
    (lambda: tg.nn.Embedding(5, 3)(-1), ValueError, "word numbers are 0 to 4, not int64 from -1 to -1"),
    (lambda: tg.nn.Embedding(5, 3)([1.0]), ValueError, "word numbers are 0 to 4, not float64"),
    (lambda: tg.nn.Embedding(5, 3)([True]), ValueError, "word numbers are 0 to 4, not bool"),
    (lambda: tg.nn.Embedding(5, 3, name="a b"), ValueError, r"Embedding\(name='a b'\): letters and digits"),
    (lambda: tg.nn.LayerNorm((3, 4)), TypeError, r"LayerNorm\(size=\(3, 4\)\): a whole number from 1 up"),
    (lambda: tg.nn.LayerNorm(3, eps=0.0), ValueError, r"LayerNorm\(eps=0.0\): a finite number above 0"),
    (lambda: tg.nn.LayerNorm(3)(np.ones((2, 1))), tg.ShapeError, r"LayerNorm: x has shape \(2, 1\), expected \(..., 3"),
    (lambda: tg.nn.LayerNorm(1)(1.0), tg.ShapeError, r"LayerNorm: x has shape \(\)"),
    (lambda: tg.nn.Dropout(1.5), ValueError, r"Dropout\(p=1.5\): a number from 0 to 1"),
    (lambda: tg.nn.Dropout("half"), TypeError, r"Dropout\(p='half'\): a number from 0 to 1"),
    (lambda: tg.nn.Dropout()(np.ones(3), np.ones(2)), tg.ShapeError, r"\(3,\).*\(2,\)"),
    (lambda: tg.nn.Sequential(tg.tanh, 3), TypeError, "a module or a function is needed, not a int"),
    (lambda: tg.nn.Sequential([tg.tanh]), TypeError, "a module or a function is needed, not a list"),
])  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pytorch_computes_the_same(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kind = getattr(torch, np.dtype(dtype).name)
    theirs = torch.nn.Sequential(
        torch.nn.Embedding(5, 3), torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.LayerNorm(4), torch.nn.Dropout()
    ).to(kind).eval()  # fmt: skip
    ours = tg.nn.Sequential(
        tg.nn.Embedding(5, 3), tg.nn.Linear(3, 4), tg.tanh, tg.nn.LayerNorm(4), tg.nn.Dropout()
    ).eval()  # fmt: skip
    torch.nn.init.normal_(theirs[3].weight)
    for p in ours.parameters():
        p.data = p.data.astype(dtype)
    tg.from_torch(ours, theirs)
    words, tolerance = np.array([[0, 3], [4, 4]]), 1e-12 if dtype == np.float64 else 1e-5
    y, expected = ours(words), theirs(torch.tensor(words))
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    (y**3).sum().backward()
    (expected**3).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=tolerance, atol=tolerance)
    back = tg.to_torch(ours)
    assert list(back) == list(theirs.state_dict())
    assert all(np.array_equal(back[name], q.numpy()) for name, q in theirs.state_dict().items())
