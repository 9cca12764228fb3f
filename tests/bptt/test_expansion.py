import inspect
import itertools
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from algebra.readers import LETTERS, Graph, Label, Net
from draw.own_nets import OWN_NETS, data, parameters, zero

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.algebra.columns import is_parameter
from tinygrad_rnn.algebra.notation import NOTATIONS, Notation
from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import time_step
from tinygrad_rnn.tensor import Tensor

T, D, H = 3, 2, 3
KINDS = {"RNN": tg.nn.RNN, "LSTM": tg.nn.LSTM, "GRU": tg.nn.GRU}


def run(kind="RNN", num_layers=1, steps=T):
    """The net, its readout, and one loss per step."""
    rng = np.random.default_rng(0)
    rnn, readout = KINDS[kind](D, H, num_layers, rng=rng), tg.nn.Linear(H, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((steps, D)))
    return rnn, readout, [tg.nn.squared_error(readout(h), y) for h, y in zip(hs, np.ones((steps, 1)), strict=True)]


def partial(of, by, direct=""):
    return rf"\frac{{\partial{direct} {of}}}{{\partial {by}}}"


@pytest.mark.parametrize("many_to_many", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_those_of_the_sum_over_time(kind, num_layers, many_to_many):
    rnn, readout, losses = run(kind, num_layers)
    loss = sum(losses) if many_to_many else losses[-1]
    for parameter in (*rnn.parameters(), *readout.parameters()):
        terms = bptt.expansion(loss, parameter)
        expected = bptt.contributions(loss, parameter)
        used_once = any(parameter is p for p in readout.parameters()) and not many_to_many
        assert [term.step for term in terms] == ([T] if used_once else list(range(1, T + 1)))
        np.testing.assert_allclose(sum(term.value for term in terms), tg.grad(loss, parameter)[0].data, atol=1e-13)
        for term in terms:
            np.testing.assert_array_equal(term.value, expected[term.step - 1])
            assert term.norm == np.linalg.norm(term.value)


NETS = [("RNN", "tanh"), ("RNN", "relu"), ("LSTM", "tanh"), ("GRU", "tanh")]


# Of all problems half, in which any two of the four choices are in all their combinations.
PROBLEMS = pytest.mark.parametrize("kind, f, layers, loss, many, notation", [
    (*NETS[i], layers, loss, many, notation)
    for (layers, loss), many in itertools.product([(1, "cross_entropy"), (2, "squared_error")], [False, True])
    for i, (n, notation) in itertools.product(range(len(NETS)), enumerate(LETTERS))
    if (layers + many + i + n) % 2
])  # fmt: skip


@PROBLEMS
def test_what_is_multiplied_is_the_term_as_matrices(kind, f, layers, loss, many, notation):
    """Of a batch, it is so for each row, and Σ adds these up."""
    net = Net(kind, f, layers, many, loss, notation, batch=4 if (layers == 2) ^ many else None)
    as_matrices = replace(NOTATIONS[notation], order="matrix")
    for parameter in net.parameters:
        for term in bptt.expansion(net.loss, parameter, as_matrices, PLAIN):
            found = net.formula(term.factors).reshape(term.value.shape)
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


@PROBLEMS
def test_in_the_order_of_reading_each_factor_meets_what_stands_before_it(kind, f, layers, loss, many, notation):
    net = Net(kind, f, layers, many, loss, notation)
    read = replace(NOTATIONS[notation], order="reading")
    for parameter in net.parameters:
        for term in bptt.expansion(net.loss, parameter, read, PLAIN):
            found = Label(term.factors, net).applied(np.ones(()))
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


def summed(T=3):
    """The elements of U h + ᵗU h, and no readout: the gradient that it starts from is 1 for each."""
    (U,) = parameters(U=(3, 3))
    h = tg.label(Tensor([1.0, -0.5, 0.2]), "h", 0)
    for t in range(1, T + 1):
        h = tg.label(tg.tanh(U @ h + U.T @ h), "h", t)
    return tg.label(tg.sum(tg.label(U @ h, "y")), "L")


def norm_of_a_state(T=2):
    W, U = parameters(W=(3, 2), U=(3, 3))
    h = zero("h")
    for t in range(1, T + 1):
        h = tg.label(tg.tanh(W @ data("x", t) + U @ h), "h", t)
    return tg.label(tg.sqrt(tg.sum(h * h)), "L")


def bidirectional():
    """A readout of one number, with several ways to it."""
    net = tg.nn.Bidirectional(tg.nn.LSTM(2, 3, rng=0, name="f"), tg.nn.LSTM(2, 3, rng=1, reverse=True, name="b"))
    hs, _ = net(np.random.default_rng(0).standard_normal((2, 2)))
    return tg.nn.squared_error(tg.nn.Linear(6, 1, rng=2)(hs[-1]), [1.0])


def letters_of_one_s_own(T=2):
    """Its y and s are letters of the texts, for other things."""
    W, U, V = parameters(W=(3, 2), U=(3, 3), V=(1, 3))
    h, s = zero("h"), zero("s")
    for t in range(1, T + 1):
        s = tg.label(0.5 * s + W @ data("x", t), "s", t)
        h = tg.label(tg.tanh(U @ h + s), "h", t)
    return tg.nn.half_squared_error(tg.label(V @ h, "y"), [1.0])


BY_HAND = [summed, norm_of_a_state, bidirectional, letters_of_one_s_own]
BY_HAND += [f for f in OWN_NETS.values() if f.__name__ != "tied_and_deep"]  # which has no time steps


@pytest.mark.parametrize("notation", ["wildml", "state"])
@pytest.mark.parametrize("graph", BY_HAND)
def test_the_terms_of_any_graph_are_products_of_matrices(graph, notation):
    loss = graph()
    read = Graph(loss, notation)
    for parameter in filter(is_parameter, topological_order(loss)):
        for term in bptt.expansion(loss, parameter, notation, PLAIN):
            found = read.formula(term.factors).reshape(term.value.shape)
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


def test_the_formula_of_seed_000():
    """∂E_3/∂W_s = ∂E_3/∂y_3 ∂y_3/∂s_3 ∂s_3/∂W_s + ... with the direct derivative at the end."""
    rnn, _, losses = run()
    of_loss = [partial("E", "y"), partial("y", "s_{3}")]
    expected = [
        [*of_loss, partial("s_{3}", "s_{2}"), partial("s_{2}", "s_{1}"), partial("s_{1}", "W_{s}", "^{+}")],
        [*of_loss, partial("s_{3}", "s_{2}"), partial("s_{2}", "W_{s}", "^{+}")],
        [*of_loss, partial("s_{3}", "W_{s}", "^{+}")],
    ]
    terms = bptt.expansion(losses[-1], rnn.cells[0].U, "state")
    assert [term.derivatives for term in terms] == [" ".join(factors) for factors in expected]


def test_eqs_7_7_to_7_9_in_the_letters_of_seed_001():
    rnn, _, losses = run()
    cell = rnn.cells[0]
    before = r"(f'(\hat{h}^{(2)}) \odot {}^tU\,(f'(\hat{h}^{(3)}) \odot {}^tV\,(Y - y)))"
    last = {"W": rf"-2\,{before}\,{{}}^tx^{{(2)}}", "U": rf"-2\,{before}\,{{}}^th^{{(1)}}", "b": f"-2\\,{before[1:-1]}"}
    for name, term in last.items():
        assert bptt.expansion(losses[-1], getattr(cell, name))[-2].factors == term


def test_eq_7_6_is_read_from_left_to_right_where_a_notation_says_so():
    rnn, _, losses = run()
    before = r"-2\,(Y - y)\,{}^tV\,f'(\hat{h}^{(3)})\,{}^tU\,f'(\hat{h}^{(2)})"
    last = {"W": r"\,{}^tx^{(2)}", "U": r"\,{}^th^{(1)}", "b": ""}
    for name, factor in last.items():
        terms = bptt.expansion(losses[-1], getattr(rnn.cells[0], name), Notation(order="reading"))
        assert terms[-2].factors == before + factor


def test_a_transpose_may_stand_behind_its_matrix():
    _, readout, losses = run()
    (term,) = bptt.expansion(losses[-1], readout.V, Notation(transpose="after"))
    assert term.factors == r"-2\,(Y - y)\,{h^{(3)}{}}^\top"


def test_with_a_loss_at_every_step_a_term_starts_from_the_whole_derivative_by_the_state():
    """Eq. 7.8: dU = Σ_t dh(t) f′(ĥ(t)) ᵗh(t-1)."""
    rnn, _, losses = run()
    loss = tg.label(sum(losses), "L")
    first = bptt.expansion(loss, rnn.cells[0].U)[0]
    assert first.derivatives == " ".join(
        [partial("L", "h^{(1)}"), partial("h^{(1)}", r"\hat{h}^{(1)}"), partial(r"\hat{h}^{(1)}", "U", "^{+}")]
    )
    assert first.factors == rf"(f'(\hat{{h}}^{{(1)}}) \odot {partial('L', 'h^{(1)}')})\,{{}}^th^{{(0)}}"


def test_where_there_are_several_ways_one_factor_stands_for_all():
    rnn, _, losses = run("LSTM")
    first = bptt.expansion(losses[-1], rnn.cells[0].U_f)[0]
    assert partial("h^{(3)}", "c^{(1)}") + " " + partial("c^{(1)}", "f^{(1)}") in first.derivatives
    way = "{}^t(" + partial("h^{(3)}", "c^{(1)}") + r")\,{}^tV\,(Y - y)"
    assert first.factors == rf"-2\,(\sigma'(\hat{{f}}^{{(1)}}) \odot c^{{(0)}} \odot {way})\,{{}}^th^{{(0)}}"


def test_a_parameter_used_twice_at_a_step_has_both_ways_in_its_term():
    w = tg.nn.Parameter(2.0, name="w")
    h = tg.label(w * Tensor(1.0, name="x"), "h", step=1)
    h = tg.label(tg.label(w * h, "a", step=2) * tg.label(w * h, "b", step=2), "h", step=2)
    first, second = bptt.expansion(h, w)
    assert second.derivatives.count("+ ") == 1 and second.value == 2 * 2.0 * h.data / 4.0
    assert first.value + second.value == tg.grad(h, w)[0].data


def test_long_products_are_written_at_their_ends():
    rnn, _, losses = run(steps=30)
    first = bptt.expansion(losses[-1], rnn.cells[0].U, "state")[0]
    assert first.derivatives.count(r"\partial") == 2 * 14 and r" \cdots " in first.derivatives


def test_a_notation_of_one_s_own_and_names_of_users():
    rnn, readout, losses = run()
    mine = Notation({"h": "a", "W": "W_{ax}", "U": "W_{aa}", "ĥ": None}, step="below")
    tg.label(readout.V, "W_ya")
    text = bptt.latex(losses[-1], rnn.cells[0].U, mine)
    assert r"\frac{\partial a_{3}}{\partial a_{2}}" in text and "W_{aa}" in text and "{}^tW_{ya}" in text


def test_seed_003_s_gradient_of_the_cross_entropy_in_its_letters():
    """∂E_3/∂V = (ŷ_3 - y_3) ⊗ h_3, and ∂E/∂W through h_3, h_2 and h_1; the last step first."""
    rnn, readout = tg.nn.RNN(D, H, bias=False, rng=0), tg.nn.Linear(H, 4, bias=False, rng=0)
    hs, _ = rnn(np.ones((2, D)))
    losses = [tg.nn.cross_entropy(readout(h), 1) for h in hs]
    (term,) = bptt.expansion(losses[-1], readout.V, "wildml")
    assert term.derivatives == f"{partial('E', 'z')} {partial('z', 'V', '^{+}')}"
    assert term.factors == r"(\operatorname{softmax}(z) - y)\,{}^th_{2}"
    np.testing.assert_allclose(term.value, np.outer(tg.softmax(readout(hs[-1])).data - np.eye(4)[1], hs[-1].data))
    whole = bptt.latex(sum(losses), rnn.cells[0].U, "wildml").splitlines()
    last = " ".join([partial("E", "E_{2}"), partial("E_{2}", "z_{2}"), partial("z_{2}", "h_{2}")])
    assert whole[1:3] == [f"  {partial('E', 'W')}", rf"  & = {last} {partial('h_{2}', 'W', '^{+}')} \\"]
    assert whole[3] == rf"  & + {partial('E', 'h_{1}')} {partial('h_{1}', 'W', '^{+}')} \\"
    assert whole[4].startswith(
        r"  & = (f'(U\,x_{2} + W\,h_{1}) \odot {}^tV\,(\operatorname{softmax}(z_{2}) - y_{2}))\,{}^th_{1}"
    )


def test_states_that_users_label_have_the_step_of_their_label():
    A = tg.nn.Parameter(0.5 * np.eye(2), name="A")
    h = tg.label(Tensor(np.ones(2)), "h", 0)
    for t in (1, 2, 3):
        h = tg.label(tg.tanh(A @ h), "h", t)
    terms = bptt.expansion(h.sum(), A)
    assert [term.step for term in terms] == [1, 2, 3]
    assert terms[-1].derivatives == f"{partial('L', 'h^{(3)}')} {partial('h^{(3)}', 'A', '^{+}')}"
    np.testing.assert_allclose(sum(term.value for term in terms), tg.grad(h.sum(), A)[0].data, rtol=1e-12)


def test_inputs_and_initial_states_that_want_a_gradient_keep_their_step():
    xs, h0 = [Tensor(np.ones(D), requires_grad=True) for _ in range(2)], Tensor(np.zeros(H), requires_grad=True)
    rnn = tg.nn.RNN(D, H, rng=0)
    hs, _ = rnn(xs, [h0])
    terms = bptt.expansion(hs[-1].sum(), rnn.cells[0].W)
    assert [term.factors.endswith(f"{{}}^tx^{{({term.step})}}") for term in terms] == [True, True]
    assert bptt.expansion(hs[-1].sum(), rnn.cells[0].U)[0].factors.endswith("{}^th^{(0)}")


def test_a_sum_over_a_broadcast_axis_is_not_hidden():
    """∂(s v)/∂s is a sum over v, on the way through s = w w."""
    w, v = tg.nn.Parameter(2.0, name="w"), Tensor(np.ones(3), name="v")
    with time_step(1):
        y = tg.sum(v * (w * w))
    (term,) = bptt.expansion(y, w)
    assert term.factors == r"2\,w\,\textstyle\sum\,v^{(1)}"


def test_a_variable_called_1_is_a_variable():
    one, w = Tensor(3.0, name="1"), tg.nn.Parameter(2.0, name="w")
    with time_step(1):
        (term,) = bptt.expansion(tg.label(one * tg.label(w * Tensor(5.0, name="x"), "a"), "y"), w)
    assert term.factors == r"x^{(1)}\,1^{(1)}"


def document(*formulas):
    preamble = "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage[paperwidth=500cm]{geometry}\n"
    return preamble + "\\begin{document}\n" + "\n".join(formulas) + "\\end{document}\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_whole_sum_compiles_with_amsmath(tmp_path):
    formulas = []
    for kind in KINDS:
        rnn, _, losses = run(kind, num_layers=2)
        formulas += map(bptt.latex, itertools.repeat(sum(losses)), rnn.parameters(), itertools.cycle(NOTATIONS))
    hostile = ["a_b^c", "#$%&", "{}~", r"\end{document}", "'x' \"", "ü😀", "a\nb", r"\N{}<b>", "]]>", "`", "x|y"]
    for name in [*hostile, *"αΓΑλĥ_µ", "x̃", "f̂", "a__b", "x_{ij}"]:
        w = tg.nn.Parameter(1.0, name=name)
        with time_step(1):
            x = tg.label(w**3.0 / (w + 1e-9) + tg.sqrt(w) - tg.exp(w), name)
            formulas.append(bptt.latex(tg.maximum(x**2, w) ** w, w))
    (tmp_path / "sums.tex").write_text(document(*formulas))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "sums.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "sums.log").read_text()


def test_bad_input_says_what_to_do():
    rnn, _, losses = run()
    U = rnn.cells[0].U
    with pytest.raises(ValueError, match="notation='latin': not one of 'interdb', 'wildml', 'state'"):
        bptt.expansion(losses[-1], U, "latin")
    with pytest.raises(ValueError, match="not a scalar"):
        bptt.expansion(rnn(np.ones((2, D)))[0][-1], U)
    with pytest.raises(ValueError, match="does not require a gradient"):
        bptt.latex(losses[-1], Tensor(1.0))
    w = tg.nn.Parameter(2.0)
    with pytest.raises(ValueError, match="at no time step"):
        bptt.expansion(tg.label(w * w, "y"), w)
    h = Tensor(1.0)
    for t in (1, 2):
        with time_step(t):
            h = w * h
    with pytest.raises(ValueError, match=r"used at steps 1 to 2 with no named variable in between; name the states"):
        bptt.expansion(tg.square(h), w)


def test_the_map_from_equations_to_functions_names_what_there_is():
    """`help(tg.bptt)` says for every equation of the texts what computes it."""
    lines = bptt.__doc__.partition("by the engine\n")[2].splitlines()
    rows = [line for line in lines if line.startswith("    ") and len(line) > 67]  # the others name a text
    by_hand = {row[67:90].strip() for row in rows}
    by_engine = {re.match(r"[\w.]+", entry)[0] for row in rows for entry in re.split("[,;] ", row[90:])}
    modules = {"tg": tg, "nn": tg.nn, "optim": tg.optim, "draw": tg.draw, "loss": Tensor}
    for name in by_engine - {"Fig."}:
        *module, attribute = name.split(".")
        assert hasattr(modules[module[0]] if module else bptt, attribute), name
    gradients = bptt.closed_form_gradients
    for name in (
        name.rstrip(", .") for name in by_hand - {"", "examples/", "many_to_many=True", "..._stacked_gradients"}
    ):
        fields = bptt.Gradients.__dataclass_fields__
        assert (
            hasattr(bptt, name)
            or hasattr(bptt.closed_form, name)
            or all(n.strip(" .") in fields for n in name.split(","))
        ), name
    assert {"many_to_many"} <= set(inspect.signature(gradients).parameters) and len(rows) == 19
