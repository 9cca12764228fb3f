"""Formulas as text, as one notation and one setting have them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tinygrad_rnn.algebra.formulas import DEEPEST, expression
from tinygrad_rnn.algebra.notation import OUTPUT, Names
from tinygrad_rnn.algebra.trees import Tree, number
from tinygrad_rnn.algebra.typesetting import PLAIN, Typesetting
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

# How tightly a formula's outermost operator binds: relations; + and −; ⊙ and /; juxtaposition, as in W x; ᵗ, √ and
# powers; one name.
ANY, SUM, PRODUCT, BESIDE, TIGHT, ATOM = range(6)
_BINDS = {"relation": ANY, "words": ANY, "sum": SUM, "negative": SUM, "over": PRODUCT, "total": PRODUCT,
          "matrix": BESIDE, "beside": BESIDE,
          "transposed": TIGHT, "root": TIGHT, "power": TIGHT, "partial": TIGHT}  # fmt: skip
_AROUND = {"negative": ("−{}", PRODUCT), "size": ("|{}|", ANY), "brackets": ("[{}]", ANY), "part": ("{}[…]", ATOM)}
_FUNCTIONS = {"sigmoid": "σ"}


class Writer:
    """Writes the formulas of one graph: a method for each head of a tree; parentheses come from the tree.

    Args:
        names: what the nodes are called, in whose notation. From them it learns what f is: where all
            nonlinearities are one primitive it is written f, as in the texts; else each by its own name.
        setting: plain text, LaTeX or markup.
        brief: write f′ of an expression that has no name with the step alone: f′₂.
    """

    def __init__(self, names: Names, setting: Typesetting = PLAIN, brief: bool = False):
        self.names, self.notation, self.setting, self.brief = names, names.notation, setting, brief
        self.beside = setting.beside  # between a number and what it is multiplied with
        functions = {n.primitive for n in names.nodes if n.primitive and "{f}" in n.primitive.written}
        self.nonlinearities = sorted(f.name for f in functions)

    def variable(self, tensor: Tensor, at: float | str | None = None) -> str:
        """A variable's name with its step, h⁽²⁾; a nameless number's value, and a letter for a nameless array.

        Args:
            at: the step of one use of a variable which has none itself.
        """
        if tensor.is_leaf and tensor.name is None and tensor.size == 1:
            return self.setting.number(tensor.item())
        if not self.notation.writes(tensor):
            return self._indexed(self.names.letters.get(tensor, OUTPUT), tensor, at)
        return self._indexed(tensor.name, tensor, self.names.steps.get(tensor, at), self.names.layers.get(tensor))

    def _indexed(self, name: Any, x: Tensor, step: float | str | None = None, layer: int | None = None) -> str:
        """A name of a variable with its primes and indices."""
        base, below, above = self.notation.parts(name, step, layer)
        return self.setting.variable(base + self.names.prime(x), below, above)

    def group(self, variables: Sequence[Tensor]) -> str:
        """Variables of one step and layer as one, (h, c)⁽²⁾."""
        letters = [self.notation.parts(x.name, None, None)[0] + self.names.prime(x) for x in variables]
        x = variables[0]
        indices = self.notation.parts(x.name, self.names.steps.get(x), self.names.layers.get(x))[1:]
        return self.setting.variable(f"({', '.join(letters)})", *indices)

    def letter(self, parameter: Tensor) -> str:
        """The letter that the parameters of all gates have in common: U of U_i, U_f and so on."""
        name = type(parameter.name)(parameter.name.partition("_")[0])
        return self._indexed(name, parameter, None, self.names.layers.get(parameter))

    def expression(self, node: Tensor, depth: int = DEEPEST) -> str:
        """The expression that made a node, down to named variables: U h⁽¹⁾ + b."""
        return self.text(expression(node, self.notation.writes, depth))

    def legend(self) -> str:
        """The function that f stands for: f = tanh."""
        f = self.setting.word("f")
        return f"{f} = {self.setting.word(self.nonlinearities[0])}" if len(self.nonlinearities) == 1 else ""

    def function(self, node: Tensor) -> str:
        """The letter of the function that makes a node from its one input, as f in f(ĥ); empty if it is no such one."""
        made = expression(node, self.notation.writes, 1)
        return self._called(made.of) if made.head == "applied" and len(made.parts) == 1 else ""

    # A method for each head

    def text(self, t: Tree, least: int = ANY) -> str:
        """A formula, in parentheses where it binds less tightly than its place needs."""
        text = getattr(self, f"_{t.head}")(t)
        return text if self.binds(t) >= least else f"({text})"

    def binds(self, t: Tree) -> int:
        """The tightness with which a formula binds."""
        if t.head == "times":
            loose = any(x.head == "total" for x in t.parts) or sum(_is_array(x, t) for x in t.parts) > 1
            return PRODUCT if loose else BESIDE
        return SUM if t.is_number() and t.of < 0 else _BINDS.get(t.head, ATOM)

    def _symbol(self, t: Tree) -> str:
        return self.variable(t.of)

    def _gradient(self, t: Tree) -> str:
        return self.setting.word("d") + self.variable(t.of)

    def _number(self, t: Tree) -> str:
        return self.setting.number(t.of)

    def _dots(self, t: Tree) -> str:
        return self.setting.operator(t.of or "…")

    def _partial(self, t: Tree) -> str:
        of, by, direct = t.of
        return self.setting.derivative(self.variable(of), self.variable(by), direct)

    def _sum(self, t: Tree) -> str:
        """Terms side by side; one with a sign brings it along."""
        text = ""
        for x in _terms(t):
            minus, x = x.head == "negative", x.parts[0] if x.head == "negative" else x
            if x.head == "number" and x.of < 0:
                minus, x = not minus, number(-x.of)
            sign = (" − " if minus else " + ") if text else "−" * minus
            text += self.setting.operator(sign) + self.text(x, PRODUCT if minus else SUM)
        return text

    def _times(self, t: Tree) -> str:
        """Numbers first, then scalars; ⊙ stands between arrays; Σ, which goes as far as the product, last."""
        parts = sorted(t.parts, key=lambda x: (x.head == "total", _is_array(x, t), not x.is_number()))
        text = self.text(parts[0], BESIDE)
        for x, after in pairwise(parts):
            between = " ⊙ " if _is_array(x, t) and _is_array(after, t) else ""
            least = PRODUCT if after is parts[-1] and after.head == "total" else BESIDE
            text += (self.setting.operator(between) or self.beside) + self.text(after, least)
        return text

    def _over(self, t: Tree) -> str:
        x, y = t.parts
        least = TIGHT if x.head == "matrix" else PRODUCT if t.of == " / " else BESIDE
        return f"{self.text(x, least)}{t.of or '/'}{self.text(y, TIGHT)}"

    def _matrix(self, t: Tree) -> str:
        return self.setting.beside.join(self.text(x, BESIDE) for x in t.parts)

    _beside = _matrix

    def _around(self, t: Tree) -> str:
        marks, least = _AROUND[t.head]
        return self.setting.operator(marks).format(self.text(t.parts[0], least))

    _negative = _size = _brackets = _part = _around

    def _total(self, t: Tree) -> str:
        return self.setting.operator("Σ") + self.setting.beside + self.text(t.parts[0], PRODUCT)

    def _transposed(self, t: Tree) -> str:
        return getattr(self.setting, self.notation.transpose) % self.text(t.parts[0], ATOM)

    def _root(self, t: Tree) -> str:
        return self.setting.root(self.text(t.parts[0], ATOM), self.text(t.parts[0]))

    def _power(self, t: Tree) -> str:
        base, exponent = (self.text(x, ATOM) for x in t.parts)
        if not t.parts[1].is_number():
            return self.setting.raised(base, exponent, self.text(t.parts[1]))
        value = f"{t.parts[1].of:.4g}".replace("-", self.setting.operator("−"))
        return self.setting.raised(base, f"({value})", value)

    def _applied(self, t: Tree) -> str:
        return f"{self._called(t.of)}({', '.join(map(self.text, t.parts))})" if t.parts else self._called(t.of)

    def _prime(self, t: Tree) -> str:
        node = t.of
        if self.brief and node.step is not None and t.parts[0].head not in ("symbol", "number"):
            indices = self.names.steps.get(node), self.names.layers.get(node)
            return self.setting.variable(*self.notation.parts(f"{self._letter(node.primitive)}′", *indices))
        return f"{self._called(node.primitive)}{self.setting.operator('′')}({self.text(t.parts[0])})"

    def _relation(self, t: Tree) -> str:
        word = self.setting.word(f"{t.of}") if t.of.isalpha() else self.setting.operator(t.of)
        return f"{self.text(t.parts[0], SUM)} {word} {self.text(t.parts[1], SUM)}"

    def _words(self, t: Tree) -> str:
        return f"{self.setting.word(t.of)} {self.text(t.parts[0])}"

    def _called(self, function: str | Primitive) -> str:
        """A function's name; f, where all nonlinearities are one."""
        return self.setting.word(function if isinstance(function, str) else self._letter(function))

    def _letter(self, primitive: Primitive) -> str:
        return "f" if self.nonlinearities == [primitive.name] else _FUNCTIONS.get(primitive.name, primitive.name)


def _terms(t: Tree) -> list[Tree]:
    """The terms of a sum, those of sums in it too."""
    return [term for x in t.parts for term in (_terms(x) if x.head == "sum" else [x])]


def _is_array(x: Tree, product: Tree) -> bool:
    """True for a factor that ⊙ stands beside: numbers, and scalars among arrays, stand beside others as they are."""
    shape = x.of.shape if x.head in ("symbol", "gradient") else x.shape
    return shape != () and not x.is_number() and (x.size != 1 or product.size < 2)


def operation(primitive: Primitive) -> str:
    """The label of an operation's node: its operator, if its notation has one, and its name otherwise."""
    operator = re.sub(r"\{\w+\}|\s", "", primitive.written)
    return operator if operator in ("+", "−", "⊙", "/", "Σ", "√") else primitive.name
