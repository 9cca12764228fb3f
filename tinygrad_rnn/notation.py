"""How a person writes what a recorded graph holds: variables with their step, expressions, and local derivatives.

- `Notation`: whose letters, and where the time step stands; `NOTATIONS` holds those of the texts.
- `Writer`: writes the parts of one graph. Nothing in it knows a derivative: it fills in the notation that stands beside
  each rule in the table of primitives, and multiplies it along a path of primitives. The five derivatives of interdb
  7.2.3 come out as f′(ĥ), ᵗh, ᵗx, 1 and ᵗU.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tinygrad_rnn import checks
from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.typesetting import PLAIN, Typesetting

Hop = tuple[Tensor, int]  # one local derivative of a path: a node, and which of its inputs

_LONGEST_NAME = 24
_FUNCTIONS = {"sigmoid": "σ"}
_DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep

# How tightly a text's outermost operator binds: + and −; ⊙ and /; juxtaposition, as in W x; ᵗ, √ and powers; one name.
SUM, PRODUCT, BESIDE, TIGHT, ATOM = range(5)

# What an operand must bind as tightly as, to stand bare on the right of an operator, and on its left. The first that
# fits counts: " − " before "−", and " " last.
# fmt: off
_RIGHT_OF = {", ": SUM, " + ": SUM, " − ": PRODUCT, "−": PRODUCT, " ⊙ ": PRODUCT, " / ": TIGHT, "/": TIGHT,
             "ᵗ": ATOM, "√": ATOM, "^": ATOM, " ": BESIDE}
_LEFT_OF = {" + ": SUM, " − ": SUM, " ⊙ ": PRODUCT, " / ": PRODUCT, "/": BESIDE,
            "²": ATOM, "^": ATOM, "[": ATOM, " ": BESIDE}
# fmt: on


class Written(NamedTuple):
    """A text, and how tightly its outermost operator binds."""

    text: str
    binds: int

    def within(self, least: int) -> str:
        """The text, in parentheses where it binds less tightly than its place needs."""
        return self.text if self.binds >= least else f"({self.text})"


ONE = Written("1", ATOM)  # the product of no factors


class Letter(str):
    """A name that a net gives by itself, which a notation may write as another letter; one that a user gives stays."""

    __slots__ = ()


@dataclass(frozen=True)
class Notation:
    """Whose letters are written, and where the time step stands.

        mine = Notation({"h": "a", "W": "W_{ax}", "U": "W_{aa}"}, step="below")

    Attributes:
        letters: what is written for the letters of the nets, which are those of interdb; for `"W"` in `"W_i"` too. A
            variable whose letter is None is not written at all, as ĥ in the texts that have only h = f(...). What goes
            into a softmax is `"logits"`, and written as y is if there is no letter for it.
        step: "above", in parentheses, h⁽ᵗ⁾; or "below", s_t. A layer of a stacked net stands in the other place.
    """

    letters: Mapping[str, str | None] = field(default_factory=dict)
    step: str = "above"

    def __post_init__(self) -> None:
        checks.one_of("Notation", "step", self.step, ("above", "below"))
        known = isinstance(self.letters, Mapping) and all(isinstance(x, str | None) for x in self.letters.values())
        if not known or not all(isinstance(x, str) for x in self.letters):
            raise TypeError(f"Notation(letters={self.letters!r}): a dict of strings, or None for what is not written")

    @staticmethod
    def named(notation: "str | Notation") -> "Notation":
        """A notation itself, or that of `NOTATIONS` with this name.

        Raises:
            ValueError: an unknown name.
        """
        if isinstance(notation, Notation):
            return notation
        return NOTATIONS[checks.one_of("", "notation", notation, NOTATIONS)]

    def writes(self, tensor: Tensor) -> bool:
        """Whether a Tensor is a variable that is written."""
        name = tensor.name
        while isinstance(name, GradientName):
            name = name.of
        hidden = type(name) is Letter and self.letters.get(name, "") is None
        return tensor.name is not None and not hidden

    def parts(self, name: str, step: int | str | None, layer: int | None) -> tuple[str, str, str]:
        """A name with its indices: its base, what stands below it, and what stands above it."""
        if isinstance(name, GradientName):
            base, below, above = self.parts(name.of, step, layer)
            return f"d{base}", below, above
        base, _, below = name.partition("_")
        if not base or not below:
            base, below = name, ""
        if type(name) is Letter:
            of = "y" if base == "logits" and base not in self.letters else base
            base, _, of_letter = (self.letters.get(of) or of).partition("_")
            below = of_letter.strip("{}") + (self.letters.get(below) or below)
        inside, raised = (layer, step) if self.step == "above" else (step, layer)
        below = ",".join([part for part in (below.strip("{}"), "" if inside is None else str(inside)) if part])
        return base, below, "" if raised is None else f"({raised})"


NOTATIONS = {
    "interdb": Notation(),
    "wildml": Notation(
        {"W": "U", "U": "W", "y": "ŷ", "Y": "y", "L": "E", "ĥ": None, "logits": "z", "z": "u", "ẑ": "û"}, step="below"
    ),
    "state": Notation({"W": "W_x", "U": "W_s", "V": "W_y", "h": "s", "Y": "d", "L": "E", "ĥ": None}, step="below"),
}


def symbol(primitive: Primitive) -> str:
    """What an operation's node shows: its operator, if its notation has one, and its name otherwise."""
    operator = re.sub(r"\{\w+\}|\s", "", primitive.written)
    return operator if operator in ("+", "−", "⊙", "/", "Σ", "√") else primitive.name


class Writer:
    """Writes the parts of one graph.

    Args:
        nodes: the nodes of the graph, from which it learns whether there are several layers, and what f is: where all
            nonlinearities are one primitive it is written f, as in the texts; else each by its own name.
        indices: the time step that a variable is written with, for those that have one.
        notation: whose letters.
        setting: plain text, LaTeX or markup.
        brief: write f′ of an expression that has no name with the step alone: f′₂.
    """

    def __init__(
        self,
        nodes: Sequence[Tensor],
        indices: Mapping[Tensor, int | str],
        notation: Notation = NOTATIONS["interdb"],
        setting: Typesetting = PLAIN,
        brief: bool = False,
    ):
        self.indices, self.notation, self.setting, self.brief = indices, notation, setting, brief
        self.layered = len({n.layer for n in nodes} - {None}) > 1
        self.nonlinearities = sorted({n.primitive.name for n in nodes if n.primitive and "{f}" in n.primitive.written})

    def variable(self, tensor: Tensor, step: int | str | None = None) -> str:
        """A variable's name with its step, h⁽²⁾; a nameless leaf's value, or its shape if it has several elements.

        Args:
            step: that of one use of a variable which has none itself.
        """
        if self.notation.writes(tensor):
            own = None if tensor.is_leaf else tensor.step
            step = self.indices.get(tensor, own if step is None else step)
            layer = tensor.layer if self.layered else None
            return self.setting.variable(*self.notation.parts(_printable(tensor.name), step, layer))
        if not tensor.is_leaf:  # the whole, if it has no name
            return self.setting.variable(*self.notation.parts(Letter("L"), None, None))
        if tensor.size == 1:
            return self.setting.number(tensor.item())
        return self.setting.template(f"[{'×'.join(map(str, tensor.shape))}]")

    def expression(self, node: Tensor) -> str:
        """How a node was made, down to named variables: U h⁽¹⁾ + b."""
        return self._made(node, _DEEPEST).text

    def legend(self) -> str:
        """What f stands for."""
        return self.setting.template(f"f = {self.nonlinearities[0]}") if len(self.nonlinearities) == 1 else ""

    def function(self, node: Tensor) -> str:
        """The letter of the function that makes a node from its one input, as f in f(ĥ); empty if it is no such one."""
        match = re.fullmatch(r"(\{f\}|\w+)\(\{\w\}\)", node.primitive.written)
        return self.setting.template(match[1].replace("{f}", self._f(node.primitive))) if match else ""

    def product(self, path: Iterable[Hop]) -> Written | None:
        """The chain rule along a path: its local derivatives multiplied, numbers first.

        The factors stand as in eq. 7.6 of interdb, dh f′(ĥ) ᵗU: in the order in which the gradient meets them.
        None where a derivative on the way has no short notation, or a node between was broadcast: that hides a sum.
        """
        coefficient, factors, path = 1.0, [], list(path)
        for left, (node, i) in zip(range(len(path) - 1, -1, -1), path, strict=True):
            template = _with_exponents(node.primitive.derivative(i), node)
            if template is None or (left and broadcasts(node, i)):
                return None
            sign, number, rest = re.fullmatch(r"(−?)(?:(\d+)(?: (?!−)|$))?(.*)", template).groups()
            coefficient *= float(number or 1) * (-1 if sign else 1)
            bare = re.fullmatch(r"(1/)?\{(\w)\}", rest)
            operand = _operands(node)[bare[2]] if bare else None
            if bare and is_number(operand) and operand.item() != 0:
                coefficient *= 1 / operand.item() if bare[1] else operand.item()
            elif rest:
                factors.append(self._filled(rest, node, _DEEPEST))
        if coefficient == 1 and not factors:
            return ONE
        if coefficient == 0 or not factors:
            return Written(self.setting.number(coefficient), SUM if coefficient < 0 else ATOM)
        sign, size = (self.setting.minus if coefficient < 0 else ""), abs(coefficient)
        if size == 1 and len(factors) == 1:
            return factors[0] if not sign else Written(sign + factors[0].within(PRODUCT), SUM)
        numbers = [] if size == 1 else [self.setting.number(size)]
        text = sign + self.setting.beside.join([*numbers, *(factor.within(BESIDE) for factor in factors)])
        return Written(text, SUM if sign else BESIDE)

    def total(self, paths: Iterable[Iterable[Hop]]) -> Written | None:
        """The local derivatives along each path multiplied, the paths added up; None if there is no short notation."""
        products = [self.product(path) for path in paths]
        if None in products:
            return None
        if products[0].text.startswith(self.setting.minus):  # h − n, not −n + h
            products.sort(key=lambda product: product.text.startswith(self.setting.minus))
        counted = Counter(products)
        terms = [self._times(count, product) for product, count in counted.items()]
        if len(terms) == 1:
            return terms[0]
        return Written(self._signed(" + ".join(term.text for term in terms)), SUM)

    def _times(self, count: int, product: Written) -> Written:
        """A product added to itself: 2 s, for s + s."""
        if count == 1:
            return product
        if re.match(r"\d|½|\\tfrac|-|−", product.text):  # it has a number of its own
            return Written(" + ".join([product.text] * count), SUM)
        return Written(f"{count}{self.setting.beside}{product.within(BESIDE)}", BESIDE)

    def _made(self, node: Tensor, depth: int) -> Written:
        primitive = node.primitive
        if primitive is None:
            return self._leaf(node)
        if depth == 0:
            return Written(self.setting.template("…"), ATOM)
        if primitive.variadic:
            operands = ", ".join(self._operand(x, depth - 1).text for x in node.inputs)
            return Written(f"{self.setting.template(primitive.name)}({operands})", ATOM)
        return self._filled(_with_exponents(primitive.written, node), node, depth - 1)

    def _leaf(self, x: Tensor) -> Written:
        """A variable, or a number, which may have a sign."""
        text = self.variable(x)
        return Written(text, SUM if text.startswith(self.setting.minus) else ATOM)

    def _operand(self, x: Tensor, depth: int) -> Written:
        """An input as its user's expression holds it: the variable if it has a name, else how it was made."""
        return self._leaf(x) if self.notation.writes(x) else self._made(x, depth)

    def _f(self, primitive: Primitive) -> str:
        return "f" if self.nonlinearities == [primitive.name] else _FUNCTIONS.get(primitive.name, primitive.name)

    def _filled(self, template: str, node: Tensor, depth: int) -> Written:
        """A template with the node's operands in it, in parentheses where they bind too loosely for their place."""
        operands = _operands(node)
        if self.brief and template == "{f}′({x})" and node.step is not None and not self._is_short(operands["x"]):
            step = self.indices.get(node, node.step)
            parts = self.notation.parts(f"{self._f(node.primitive)}′", step, node.layer if self.layered else None)
            return Written(self.setting.variable(*parts), ATOM)
        template = template.replace("{f}", self._f(node.primitive))
        numbers = [name for name, x in operands.items() if is_number(x)]
        if template == "{x} ⊙ {y}" and len(numbers) == 1:  # a number stands first, beside what it multiplies
            template = "{x} {y}" if numbers == ["x"] else "{y} {x}"
        if re.fullmatch(r"\{\w\}", template):
            return self._operand(operands[template[1:-1]], depth)

        written = [self._operand(operands[name], depth).within(least) for name, least in _places(template)]
        text = re.sub(r"\{[A-Za-z]\}", lambda _: written.pop(0), self.setting.template(template))
        return Written(self._signed(text), SUM if text.startswith(self.setting.minus) else _binding(template))

    def _is_short(self, x: Tensor) -> bool:
        return x.is_leaf or self.notation.writes(x)

    def _signed(self, text: str) -> str:
        return text.replace(f" + {self.setting.minus}", f" {self.setting.minus} ")


def _printable(name: str) -> str:
    """A name on one line, without control characters, and no longer than can be drawn."""
    if isinstance(name, GradientName):
        return GradientName(_printable(name.of))
    if isinstance(name, Letter):
        return name
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))
    name = unicodedata.normalize("NFC", name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _with_exponents(template: str | None, node: Tensor) -> str | None:
    """A template in which an exponent that is a number is calculated: 3 x², not 3 x^(3 − 1)."""
    if template is None or "^" not in template:
        return template
    for name, x in _operands(node).items():
        if is_number(x):
            for written, value in ((f"^({{{name}}} − 1)", x.item() - 1), (f"^{{{name}}}", x.item())):
                template = template.replace(written, "" if value == 1 else f"^({value:.4g})")
            if float(x.item()).is_integer():
                template = template.replace(f"{{{name}}} ", f"{x.item():.0f} ")
    return template.replace("-", "−")


def _operands(node: Tensor) -> dict[str, Tensor]:
    return dict(zip(node.primitive.argument_names, node.inputs, strict=False))


def broadcasts(node: Tensor, i: int) -> bool:
    """Whether input i was broadcast, so that its gradient is a sum."""
    added = (node.primitive.name, i) == ("affine", 4)  # b
    return (node.primitive.by_element or added) and node.inputs[i].shape != node.shape


def summed(node: Tensor, i: int) -> bool:
    """Whether the gradient of input i is a sum of what its elements, or the rows of a batch, have each."""
    if is_matrix_product(node, i):
        return i % 2 == 0 and node.primitive.name in ("linear", "affine") and node.ndim > 1
    return broadcasts(node, i)


def is_matrix_product(node: Tensor, i: int) -> bool:
    """Whether input i is multiplied as a matrix, or by one: all but the b of W x + U h + b."""
    return node.primitive.name in ("linear", "matmul", "outer") or (node.primitive.name == "affine" and i < 4)


def _places(template: str) -> list[tuple[str, int]]:
    """The operands of a template in the order of their places, each with how tightly it has to bind there."""
    places = []
    for match in re.finditer(r"\{(\w)\}", template):
        before, after = template[: match.start()], template[match.end() :]
        needs = [least for operator, least in _RIGHT_OF.items() if before.endswith(operator)][:1]
        needs += [least for operator, least in _LEFT_OF.items() if after.startswith(operator)][:1]
        places.append((match[1], max(needs, default=SUM)))
    return places


def _binding(template: str) -> int:
    """How tightly a template binds: as its loosest operator that is in no brackets."""
    outside = re.sub(r"\([^()]*\)|\[.*\]|\|.*\|", "", template)
    for operators, binds in (("+−", SUM), ("⊙/", PRODUCT), (" ", BESIDE), ("ᵗ√²^", TIGHT)):
        if any(operator in outside for operator in operators):
            return binds
    return ATOM


def is_number(x: Tensor) -> bool:
    """Whether a Tensor is a bare number in its user's expression: a nameless scalar constant."""
    return x.name is None and x.is_leaf and not x.requires_grad and x.size == 1
