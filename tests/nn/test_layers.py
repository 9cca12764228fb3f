"""Layers without a state, and losses: PyTorch's numbers, where it is installed, differences, figures and programs."""

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
    assert tg.nn.Dropout(0.25, rng=0)(np.ones(9, int)).data.max() == 1.0 / 0.75


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
    assert "whole_number" in program.source and compile(program.source, "bptt", "exec")


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
    torch.manual_seed(0)
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


# Losses

Y = np.array([[1.0, 2.0], [0.0, -1.0]])


def test_half_squared_error_is_eq_7_3():
    y = tg.Tensor([[2.0, 4.0], [0.0, 1.0]], requires_grad=True)
    loss = tg.nn.half_squared_error(y, Y)
    assert loss.item() == 0.5 * (1 + 4 + 0 + 4)
    loss.backward()
    np.testing.assert_array_equal(y.grad, y.data - Y)


def test_squared_error_is_that_of_the_bptt_post_and_module_5():
    y = tg.Tensor([[2.0, 4.0], [0.0, 1.0]], requires_grad=True)
    loss = tg.nn.squared_error(y, Y)
    assert loss.item() == 9.0
    loss.backward()
    np.testing.assert_array_equal(y.grad, -2 * (Y - y.data))


def test_cross_entropy_s_gradient_is_y_hat_minus_y():
    z = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = tg.nn.cross_entropy(z, 2)
    y_hat = np.exp(z.data) / np.exp(z.data).sum()
    np.testing.assert_allclose(loss.item(), -np.log(y_hat[2]), rtol=1e-14)
    loss.backward()
    np.testing.assert_allclose(z.grad, y_hat - [0, 0, 1], rtol=1e-13)


def test_class_numbers_and_one_hot_targets_are_one_loss():
    z = np.random.default_rng(0).standard_normal((4, 3))
    classes = np.array([2, 0, 1, 1])
    assert tg.nn.cross_entropy(z, classes).item() == tg.nn.cross_entropy(z, np.eye(3)[classes]).item()


def test_mean_divides_by_elements_and_by_rows():
    y, z = np.zeros((2, 2)), np.random.default_rng(0).standard_normal((4, 3))
    for loss in (tg.nn.half_squared_error, tg.nn.squared_error):
        assert loss(y, Y, reduction="mean").item() == loss(y, Y).item() / 4
    targets = np.array([0, 1, 2, 0])
    mean, total = tg.nn.cross_entropy(z, targets, reduction="mean"), tg.nn.cross_entropy(z, targets)
    assert mean.item() == total.item() / 4


def test_the_variables_of_the_figure_are_named():
    V = tg.Tensor(np.ones((1, 2)), requires_grad=True)
    y, target = tg.linear(V, np.ones(2)), tg.Tensor([1.0])
    loss = tg.nn.half_squared_error(y, target)
    assert (y.name, target.name, loss.name) == ("y", "Y", "L")


def test_a_target_of_another_shape_does_not_broadcast():
    with pytest.raises(tg.ShapeError, match=r"half_squared_error: y has shape \(3, 1\) and the target \(3,\)"):
        tg.nn.half_squared_error(np.ones((3, 1)), np.ones(3))
    with pytest.raises(tg.ShapeError, match=r"logits have shape \(\)"):
        tg.nn.cross_entropy(1.0, 0)
    with pytest.raises(tg.ShapeError, match=r"class numbers \(integers\) of shape \(2,\)"):
        tg.nn.cross_entropy(np.ones((2, 3)), np.array([0.0, 1.0]))


@pytest.mark.parametrize("target", [3, -1])
def test_class_numbers_are_in_range(target):
    with pytest.raises(ValueError, match=f"0 to 2 for 3 logits, not {target}"):
        tg.nn.cross_entropy(np.ones(3), target)


LOSSES = [
    tg.nn.half_squared_error, tg.nn.squared_error, tg.nn.binary_cross_entropy, tg.nn.binary_cross_entropy_with_logits,
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_none_gives_the_loss_of_each_element(loss):
    y, target = np.array([[0.2, 0.9], [0.5, 0.1]]), np.array([[0.0, 1.0], [1.0, 0.3]])
    each = loss(y, target, reduction="none")
    assert each.shape == (2, 2) and each.name == "L"
    np.testing.assert_allclose(each.sum().item(), loss(y, target).item(), rtol=1e-14)
    np.testing.assert_allclose(each.mean().item(), loss(y, target, reduction="mean").item(), rtol=1e-14)
    assert each[0, 1].item() == pytest.approx(loss(0.9, 1.0).item(), rel=1e-14)


def test_none_gives_the_loss_of_each_row_of_classes():
    z = np.random.default_rng(0).standard_normal((2, 4, 3))
    z[0, 0, 1] = -np.inf  # a class that cannot be, and is none of the targets
    targets = np.array([[0, 1, 2, 0], [1, 1, 2, 2]])
    each = tg.nn.cross_entropy(z, targets, reduction="none")
    assert each.shape == (2, 4)
    np.testing.assert_allclose(each.sum().item(), tg.nn.cross_entropy(z, targets).item(), rtol=1e-14)
    assert each[1, 2].item() == pytest.approx(tg.nn.cross_entropy(z[1, 2], 2).item(), rel=1e-14)
    tg.check_gradients(lambda z: tg.nn.cross_entropy(z, targets[1], "none").sum(), z[1], order=2)


def test_the_derivative_of_binary_cross_entropy_is_sigma_minus_y():
    z, target = tg.Tensor([-800.0, -1.0, 0.5, 800.0], requires_grad=True), np.array([1.0, 0.0, 1.0, 0.25])
    loss = tg.nn.binary_cross_entropy_with_logits(z, target)
    loss.backward()
    np.testing.assert_allclose(z.grad, tg.sigmoid(z).data - target, atol=1e-15)
    assert loss.item() == pytest.approx(800 + np.log1p(np.exp(-1)) + np.log1p(np.exp(-0.5)) + 600, rel=1e-14)
    for loss in (tg.nn.binary_cross_entropy, tg.nn.binary_cross_entropy_with_logits):
        tg.check_gradients(lambda y, target, loss=loss: loss(y, target), [0.3, 0.7], [0.1, 1.0], order=2)


def test_a_probability_of_0_costs_100_as_in_pytorch():
    assert tg.nn.binary_cross_entropy(0.0, 1.0).item() == pytest.approx(100.0, rel=1e-14)
    assert tg.nn.binary_cross_entropy([0.0, 1.0], [0.0, 1.0]).item() == 0.0


@pytest.mark.parametrize("ignored", [-100, 0])
def test_what_is_ignored_counts_nothing(ignored):
    z = tg.Tensor(np.random.default_rng(0).standard_normal((4, 3)), requires_grad=True)
    targets = np.array([ignored, 1, 2, ignored])
    for reduction in ("sum", "mean"):
        loss = tg.nn.cross_entropy(z, targets, reduction, ignore_index=ignored)
        assert loss.item() == pytest.approx(tg.nn.cross_entropy(z[1:3], [1, 2], reduction).item(), rel=1e-14)
        (dz,) = tg.grad(loss, z)
        assert not dz.data[[0, 3]].any() and dz.data[1:3].all()
    assert tg.nn.cross_entropy(z, targets, "none", ignored).data[[0, 3]].tolist() == [0.0, 0.0]
    assert tg.nn.cross_entropy(z, np.full(4, ignored), "mean", ignored).item() == 0.0
    with pytest.raises(ValueError, match="class numbers are 0 to 2 for 3 logits, not 7"):
        tg.nn.cross_entropy(z, np.array([ignored, 7, 2, 1]), ignore_index=ignored)


@pytest.mark.parametrize("loss, y, target", [
    (tg.nn.squared_error, np.ones((4, 3, 1)), np.ones((3, 4, 1))),
    (tg.nn.cross_entropy, np.ones((4, 3, 2)), np.zeros((3, 4), int)),
    (tg.nn.cross_entropy, np.ones((4, 3, 2)), np.zeros((3, 4, 2))),
])  # fmt: skip
def test_targets_with_the_batch_first_are_told_so(loss, y, target):
    with pytest.raises(tg.ShapeError, match=r"; time comes first, and then the batch: target.swapaxes\(0, 1\)"):
        loss(y, target)


@pytest.mark.parametrize("y", [1.5, -0.1, np.nan])
def test_a_probability_is_from_0_to_1(y):
    with pytest.raises(ValueError, match="binary_cross_entropy: y is a probability, from 0 to 1; of logits, take"):
        tg.nn.binary_cross_entropy(y, 1.0)


def test_an_unknown_reduction_lists_the_known():
    with pytest.raises(ValueError, match="reduction='max'.*'sum', 'mean', 'none'"):
        tg.nn.squared_error(np.ones(1), np.ones(1), reduction="max")
    with pytest.raises(ValueError, match="reduction=None"):
        tg.nn.cross_entropy(np.ones(2), 1, reduction=None)
