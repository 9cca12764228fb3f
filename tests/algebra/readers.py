"""Formulas as a person reads them: their text, and what it says of the numbers of a net.

- `Net`: an unrolled net, and the values of its variables by their written names; `Graph`: the same of any graph.
- `Label`: factors in the order in which a gradient meets them, as on the edges of Fig. 7-6 and in eq. 7.6.
- `applied`: what such a label makes of a gradient, whatever the graph.
- `Formula`: mathematics of matrices and columns: a b is a product of matrices, a ⊙ b one by element. A batch is as many
  columns, of which the formula holds for each; Σ adds them up.
"""

import re

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.notation import NOTATIONS, Names
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order

D, H, K, T = 2, 3, 2, 3
LETTERS = {  # what the notations write for the letters of the nets
    "interdb": {"logits": "y"},
    "wildml": {"W": "U", "U": "W", "y": "ŷ", "Y": "y", "L": "E", "logits": "z", "z": "u", "ẑ": "û"},
    "state": {"W": "W_x", "U": "W_s", "V": "W_y", "h": "s", "Y": "d", "L": "E", "logits": "y"},
}
RAISED, LOWERED = str.maketrans("0123()", "⁰¹²³⁽⁾"), str.maketrans("0123", "₀₁₂₃")


def softmax(a):
    e = np.exp(a)
    return e / np.sum(e, axis=-2 if a.ndim > 1 else -1, keepdims=True)


FUNCTIONS = {
    "": np.asarray,  # parentheses alone
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "softmax": softmax,
    "σ": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "identity": np.asarray,
    "stack": lambda *columns: np.hstack(columns).T,
    "sum": lambda x, axis: np.sum(x, axis=int(axis.item())).reshape(-1, 1),
    "max": lambda x, axis: np.max(x, axis=int(axis.item())).reshape(-1, 1),
    "concatenate": lambda *columns: np.vstack(columns),
    "tanh′": lambda a: 1 / np.cosh(a) ** 2,
    "σ′": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
    "relu′": lambda a: np.where(a > 0, 1.0, 0.0),
    "identity′": np.ones_like,
}
FUNCTIONS |= {"sigmoid": FUNCTIONS["σ"], "sigmoid′": FUNCTIONS["σ′"]}


class Net:
    """An unrolled net whose weights, biases and first states are not zero; its variables by their written names."""

    def __init__(
        self, kind, f="tanh", layers=1, many=False, loss="half_squared_error", notation="interdb", batch=None, **how
    ):
        self.notation, self.batch, self.functions = (
            notation,
            batch,
            {**FUNCTIONS, "f": FUNCTIONS[f], "f′": FUNCTIONS[f"{f}′"]},
        )
        rng = np.random.default_rng(16)
        options = {"nonlinearity": f} if kind == "RNN" else {}
        rnn, readout = getattr(tg.nn, kind)(D, H, layers, **options), tg.nn.Linear(H, K)
        self.parameters = [*rnn.parameters(), *readout.parameters()]
        for p in self.parameters:
            p.data[...] = rng.standard_normal(p.shape)
        rows = () if batch is None else (batch,)
        xs, hs, cs = (
            [tg.Tensor(rng.standard_normal((*rows, n)), requires_grad=True) for _ in range(count)]
            for n, count in ((D, T), (H, layers), (H, layers))
        )
        hs, _ = rnn(xs, list(zip(hs, cs, strict=True)) if kind == "LSTM" else hs)

        targets = np.abs(rng.standard_normal((T, *rows, K)))
        targets /= targets.sum(-1, keepdims=True)
        steps, losses = {}, []  # the readout of a step is written with that step if there are several
        for t in range(1 if many else T, T + 1):
            y, Y = readout(hs[t - 1]), tg.Tensor(targets[t - 1])
            losses.append(getattr(tg.nn, loss)(y, Y, **how))
            steps |= dict.fromkeys([y, Y, losses[-1]], t if many else None)
        self.loss = sum(losses[1:], losses[0])

        self.variables, self.values, self.called = {}, {}, {x: x.name for x in topological_order(self.loss)}
        if kind == "LSTM" and layers == 1:
            self.called[readout.c] = "c′"  # the bias, beside the cells c⁽ᵗ⁾
        for x in filter(lambda x: x.name, topological_order(self.loss)):
            step = steps.get(x, x.step)
            name = self.write(self.called[x], step, x.layer)
            assert name not in self.values, f"{name} is written for two variables"
            self.values[name] = x.value
            if x.name == "ĥ":
                self.values[self.write("f′", step, x.layer)] = self.functions["f′"](x.value)  # f′₂: short for f′(ĥ₂)
            if x.requires_grad and x is not self.loss and NOTATIONS[notation].writes(x):
                self.variables[name] = x  # has a node in the figure

    def write(self, name, step, layer):
        """h⁽²⁾, and h₁⁽²⁾ in layer 1 of several; the other notations have the step below and the layer above."""
        base, _, gate = name.partition("_")
        gate = LETTERS[self.notation].get(gate, gate)
        base, _, below = LETTERS[self.notation].get(base, base).partition("_")
        inside, raised = (layer, step) if NOTATIONS[self.notation].step == "above" else (step, layer)
        below = ",".join([part for part in (below + gate, "" if inside is None else str(inside)) if part])
        below = below.translate(LOWERED) if below.isdigit() else below and f"_{below}"
        return base + below + ("" if raised is None else f"({raised})".translate(RAISED))

    def gradients(self):
        """{what stands in a node, and whether it is of a parameter: the gradient}; the same for the terms of steps."""
        grads = zip(self.variables.items(), tg.grad(self.loss, list(self.variables.values())), strict=True)
        whole = {(f"d{name}", x.is_leaf and x.step is None): dx.value for (name, x), dx in grads}
        terms = {
            (f"d{self.write(self.called[p], k, p.layer)}", True): term
            for p in self.parameters
            for k, term in enumerate(tg.bptt.contributions(self.loss, p), 1)
        }
        return whole, terms

    def tensor(self, name):
        """A variable by its written name, or the loss."""
        return self.variables.get(name, self.loss)

    def formula(self, text):
        """The value of a formula of its variables."""
        return Formula(text, self.columns(), self.functions, self.partial).value()

    def columns(self):
        """The values of the variables for a `Formula`."""
        return {name: self.column(x) for name, x in self.values.items()}

    def column(self, value):
        """A vector as a column; of a batch, a column for each row."""
        is_batch = self.batch is not None and value.shape[:-1] == (self.batch,)
        return value[..., None] if is_batch else value if value.ndim == 2 else value.reshape(-1, 1)

    def partial(self, of, by):
        """∂a/∂b, by `bptt.jacobian`: for each row of a batch its own; of the loss, the gradient as a column."""
        a, b = self.tensor(of), self.tensor(by)
        if a.ndim == 0:
            return self.column(tg.grad(a, b)[0].value)
        jacobian = tg.bptt.jacobian(a, b)
        if a.ndim == 1:
            return jacobian.reshape(a.size, b.size)
        return np.stack([jacobian.reshape(a.shape + b.shape)[i, :, i] for i in range(len(a))])


class Label:
    """A label, read from the left to the right by recursive descent: sums of products of factors."""

    def __init__(self, text, net):
        self.net, self.rest = net, re.findall(r"[^\s()ᵗᵀ+−]+\(?|[()ᵗᵀ+−]", text)

    def applied(self, g):
        """What the label makes of a cotangent."""
        g = self.sum(g)
        assert not self.rest, f"{self.rest} is left over"
        return g

    def sum(self, g):
        total = self.product(-g if self.skip("−") else g)
        while self.rest and self.rest[0] in "+−":
            sign = 1 if self.rest.pop(0) == "+" else -1
            total = total + self.product(sign * g)
        return total

    def product(self, g):
        g = self.factor(g)
        while self.rest and self.rest[0] not in "+−)":
            g = self.factor(g)
        return g

    def factor(self, g):
        if self.skip("ᵗ"):
            return self.transposed(self.atom(), g)
        if partial := re.fullmatch("∂(.+)/∂(.+)", "".join(self.rest[:1])):  # instead of a label that is too long
            self.rest.pop(0)
            of, by = map(self.net.tensor, partial.groups())
            return g @ tg.bptt.jacobian(of, by) if of.size > 1 else g * tg.grad(of, by)[0].value
        a = self.atom()
        if self.skip("ᵀ"):
            return self.transposed(a, g)
        if a.ndim == 2:  # U h
            a = a @ self.atom()
        assert g.shape in ((), a.shape) or a.ndim == 0, f"{a.shape} is no factor of {g.shape}"
        return g * a

    @staticmethod
    def transposed(a, g):
        return a.T @ g if a.ndim == 2 else np.outer(g, a)

    def atom(self):
        assert self.rest, "a factor is missing"
        token = self.rest.pop(0)
        if token.endswith("("):
            inside = self.sum(np.ones(()))
            assert self.skip(")"), "a parenthesis is not closed"
            return self.net.functions[token[:-1]](inside)
        return np.array(float(token)) if token.isdigit() else self.net.values[token]

    def skip(self, token):
        """Whether a token comes next, which is then read."""
        return self.rest[:1] == [token] and bool(self.rest.pop(0))


NAME = "(?:⁽.*?⁾|,(?! )|[^\\s()ᵗᵀ+−⊙·Σ²/,])+"


class Formula:
    """A formula, read by recursive descent as mathematics of matrices and columns.

    Args:
        values: what a name stands for, as a matrix or a column.
        partial: what ∂a/∂b is, given both names: the matrix; of a number, the gradient as a column.
    """

    def __init__(self, text, values, functions=FUNCTIONS, partial=None):
        self.values, self.functions, self.partial = values, functions, partial
        self.rest = re.findall(rf"∂⁺?{NAME}/∂{NAME}|{NAME}\(?|[()ᵗᵀ+−⊙·Σ²/,]", text)

    def value(self):
        value = self.sum()
        assert not self.rest, f"{self.rest} is left over"
        return value

    def sum(self):
        total = -self.by_element() if self.skip("−") else self.by_element()
        while self.rest and self.rest[0] in "+−":
            sign = 1 if self.rest.pop(0) == "+" else -1
            term = self.by_element()
            alike = term.shape[-2:] == total.shape[-2:]
            assert alike or 1 in (term.size, total.size), f"{total.shape} and {term.shape}"
            total = total + sign * term
        return total

    def by_element(self):
        product = self.matrix_product()
        while self.rest and self.rest[0] in "⊙·/":
            sign, factor = self.rest.pop(0), self.matrix_product()
            if sign == "/":
                factor = 1 / factor
            a_number, alike = 1 in (product.size, factor.size), product.shape[-2:] == factor.shape[-2:]
            assert {"⊙": alike, "·": a_number, "/": alike or a_number}[sign], f"{product.shape} {sign} {factor.shape}"
            product = product * factor
        return product

    def matrix_product(self):
        if self.skip("Σ"):
            inside = self.by_element()
            return np.sum(inside, axis=0) if inside.ndim == 3 else np.sum(inside).reshape(1, 1)
        product = self.power()
        while self.rest and self.rest[0] not in "+−⊙·/),":
            factor = self.matrix_product() if self.rest[0] == "Σ" else self.power()
            product = product * factor if 1 in (product.size, factor.size) else product @ factor
        return product

    def power(self):
        base = self.atom()
        if self.skip("ᵀ"):
            base = np.swapaxes(base, -1, -2)
        return base**2 if self.skip("²") else base

    def atom(self):
        if self.skip("ᵗ"):
            return np.swapaxes(self.atom(), -1, -2)
        assert self.rest, "a factor is missing"
        token = self.rest.pop(0)
        if partial := re.fullmatch("∂([^⁺].*)/∂(.+)", token):
            return self.partial(*partial.groups())
        if token.endswith("("):
            inside = [self.sum()]
            while self.skip(","):
                inside.append(self.sum())
            assert self.skip(")"), "a parenthesis is not closed"
            return self.functions[token[:-1]](*inside)
        if token == "log":
            return np.log(self.atom())
        token = token.removeprefix("axis=")
        if re.fullmatch(r"½|[\d.]+", token):
            return np.reshape(0.5 if token == "½" else float(token), (1, 1))
        return self.values[token]

    def skip(self, token):
        return self.rest[:1] == [token] and bool(self.rest.pop(0))


class Graph:
    """Any graph of columns and matrices: its variables by their written names.

    Attributes:
        known: the variables by name; no name stands for two. values: as columns and matrices.
    """

    def __init__(self, loss, notation="interdb"):
        order = topological_order(loss)
        self.writer, self.known = Writer(Names(order, notation=notation)), {}
        for x in order:
            if self.writer.notation.writes(x) or (x.is_leaf and x.size > 1) or x is loss:
                assert self.known.setdefault(self.writer.variable(x), x) is x, f"{self.writer.variable(x)} is two nodes"
        self.values = {name: column(x.value) for name, x in self.known.items()}
        self.functions = dict(FUNCTIONS)
        for f, name in re.findall(r"(\w) = (\w+)", self.writer.legend()):
            self.functions |= {f: FUNCTIONS[name], f"{f}′": FUNCTIONS[f"{name}′"]}

    def formula(self, text):
        """The value of a formula of its variables."""
        return Formula(text, self.values, self.functions, self.partial).value()

    def partial(self, of, by):
        """∂a/∂b; of a number, the gradient as a column."""
        a, b = self.known[of], self.known[by]
        return column(tg.grad(a, b)[0].value) if a.ndim == 0 else tg.bptt.jacobian(a, b)


def column(x):
    """A value as a column or a matrix; the rows of a batch are a matrix as they stand."""
    return x if x.ndim == 2 else x.reshape(-1, 1)


def applied(label, g, shape, read):
    """What a label makes of a gradient g, for what has a shape; both are columns or matrices.

    A factor multiplies by element what has its shape, or a number; else as the matrix that it is, from the side where
    it fits; a row, ᵗh, from the side that leads to the shape.

    Args:
        read: the value of a factor, by its text.
    """
    total, sign, terms = 0.0, 1.0, [[]]
    for text in re.findall(r"\[[^\]]*\]|(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|[^\s()])+", label):
        if text in "+−":
            terms.append([text])
        elif text != "⊙":
            terms[-1].append(text)
    for term in filter(None, terms):
        sign = -1.0 if term[0] == "−" else 1.0
        values = [read(text) for text in term if text not in "+−"]
        for i in reversed(range(len(values) - 1)):  # U h is a column
            matrix, column = values[i : i + 2]
            if "ᵗ" not in term[i] and matrix.shape[1] > 1 == column.shape[1] and matrix.shape[1] == len(column):
                values[i : i + 2] = [matrix @ column]
        found = [sign * g]
        for value in values:
            found = [product for x in found for product in _products(x, value)]
        fitting = [x for x in found if x.shape == shape]
        if not fitting and g.size == 1:  # one number that becomes many, as the gradient of a sum does
            fitting = [np.broadcast_to(x, shape) for x in found if x.size == 1]
        (found,) = fitting
        total = total + found
    return total


def _products(g, value):
    if 1 in (g.size, value.size) or g.shape == value.shape:
        return [g * value]
    return [a @ b for a, b in ((value, g), (g, value)) if a.shape[1] == len(b)]
