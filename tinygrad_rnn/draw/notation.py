"""How a person writes what a recorded graph holds: variables with their step, expressions, and local derivatives.

Nothing here knows a derivative. `Writer` fills in the notation that stands beside each rule in the table of primitives,
and multiplies it along a path of folded primitives: the five derivatives of seed 001, section 7.2.3, come out as
f′(ĥ), ᵗh, ᵗx, 1 and ᵗU. All text is plain Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

__all__ = ["SUPERSCRIPTS", "Hop", "Writer", "superscript", "symbol"]

Hop = tuple[Tensor, int]  # one local derivative of a path: a node, and which of its inputs

_RAISED = str.maketrans("0123456789()-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻")
SUPERSCRIPTS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗ")
_LONGEST_NAME = 24
_DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep

# How tightly a text's outermost operator binds: + and −; ⊙ and /; juxtaposition, as in W x; ᵗ, √ and powers; one name.
SUM, PRODUCT, BESIDE, TIGHT, ATOM = range(5)

# What an operand must bind as tightly as, to stand bare on the right of an operator, and on its left.
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


def superscript(t: int) -> str:
    """The time step as the seeds write it: ⁽³⁾."""
    return f"({t})".translate(_RAISED)


def symbol(primitive: Primitive) -> str:
    """What an operation's node shows: its operator, if its notation has one, and its name otherwise."""
    operator = re.sub(r"\{\w+\}|\s", "", primitive.written)
    return operator if operator in ("+", "−", "⊙", "/", "Σ", "√") else primitive.name


class Writer:
    """Writes the parts of one graph.

    Args:
        nodes: the nodes of the graph, from which it learns what f is: where all nonlinearities are one primitive it is
            written f, as in the seeds; where there are several, each by its own name.
        indices: the time step that a variable's name is written with, for those that have one.
    """

    def __init__(self, nodes: Iterable[Tensor], indices: dict[Tensor, int]):
        self.indices = indices
        self.nonlinearities = sorted({n.primitive.name for n in nodes if n.primitive and "{f}" in n.primitive.written})

    def variable(self, tensor: Tensor) -> str:
        """A variable's name with its step, h⁽²⁾; a nameless leaf's value, or its shape if it has several."""
        if tensor.name is not None:
            name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(tensor.name.split()))
            name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
            return name + (superscript(self.indices[tensor]) if tensor in self.indices else "")
        if tensor.size == 1:
            return _number(tensor.item())
        return f"[{'×'.join(map(str, tensor.shape))}]"

    def expression(self, node: Tensor) -> str:
        """How a node was made, down to named variables: U h⁽¹⁾ + b."""
        return self._made(node, _DEEPEST).text

    def legend(self) -> str:
        """What f stands for."""
        return f"f = {self.nonlinearities[0]}" if len(self.nonlinearities) == 1 else ""

    def function(self, node: Tensor) -> str:
        """The letter of the function that makes a node from its one input, as f in f(ĥ); empty if it is no such one."""
        match = re.fullmatch(r"(\{f\}|\w+)\(\{\w+\}\)", node.primitive.written)
        return match[1].replace("{f}", self._f(node.primitive)) if match else ""

    def product(self, path: Iterable[Hop]) -> Written | None:
        """The chain rule along a path: its local derivatives multiplied, numbers first.

        The factors stand as in eq. 7.6 of seed 001, dh f′(ĥ) ᵗU: in the order in which the gradient meets them.
        None where a derivative on the way has no short notation.
        """
        coefficient, factors = 1.0, []
        for node, i in path:
            template = node.primitive.derivative(i)
            if template is None:
                return None
            sign, number, rest = re.fullmatch(r"(−?)(?:(\d+)(?: |$))?(.*)", template).groups()
            coefficient *= float(number or 1) * (-1 if sign else 1)
            bare = re.fullmatch(r"(1/)?\{(\w+)\}", rest)
            operand = _operands(node)[bare[2]] if bare else None
            if bare and _is_number(operand) and operand.item() != 0:
                coefficient *= 1 / operand.item() if bare[1] else operand.item()
            elif rest:
                factors.append(self._filled(rest, node, _DEEPEST))
        if coefficient == 0 or not factors:
            return Written(_number(coefficient), SUM if coefficient < 0 else ATOM)
        sign, size = ("−" if coefficient < 0 else ""), abs(coefficient)
        if size == 1 and len(factors) == 1:
            return factors[0] if not sign else Written(sign + factors[0].within(PRODUCT), SUM)
        numbers = [] if size == 1 else [_number(size)]
        text = sign + " ".join([*numbers, *(factor.within(BESIDE) for factor in factors)])
        return Written(text, SUM if sign else BESIDE)

    def total(self, paths: Iterable[Iterable[Hop]]) -> str | None:
        """The local derivatives along each path multiplied, the paths added up; None if there is no short notation."""
        products = [self.product(path) for path in paths]
        if None in products:
            return None
        return " + ".join(product.text for product in products).replace(" + −", " − ")

    def _made(self, node: Tensor, depth: int) -> Written:
        primitive = node.primitive
        if primitive is None:
            text = self.variable(node)
            return Written(text, SUM if text.startswith("−") else ATOM)
        if depth == 0:
            return Written("…", ATOM)
        if primitive.variadic:
            operands = ", ".join(self._operand(x, depth - 1).text for x in node.inputs)
            return Written(f"{primitive.name}({operands})", ATOM)
        return self._filled(primitive.written, node, depth - 1)

    def _operand(self, x: Tensor, depth: int) -> Written:
        """An input as its user's expression holds it: the variable if it has a name, else how it was made."""
        return Written(self.variable(x), ATOM) if x.name is not None else self._made(x, depth)

    def _f(self, primitive: Primitive) -> str:
        return "f" if self.nonlinearities == [primitive.name] else primitive.name

    def _filled(self, template: str, node: Tensor, depth: int) -> Written:
        """A template with the node's operands in it, in parentheses where they bind too loosely for their place."""
        operands = _operands(node)
        template = template.replace("{f}", self._f(node.primitive))
        numbers = [name for name, x in operands.items() if _is_number(x)]
        if template == "{x} ⊙ {y}" and len(numbers) == 1:  # a number stands first, beside what it multiplies
            template = "{x} {y}" if numbers == ["x"] else "{y} {x}"
        if template[1:-1] in operands:
            return self._operand(operands[template[1:-1]], depth)

        def operand(match: re.Match) -> str:
            before, after = template[: match.start()], template[match.end() :]
            needs = [least for operator, least in _RIGHT_OF.items() if before.endswith(operator)][:1]
            needs += [least for operator, least in _LEFT_OF.items() if after.startswith(operator)][:1]
            return self._operand(operands[match[1]], depth).within(max(needs, default=SUM))

        text = re.sub(r"\{(\w+)\}", operand, template).replace(" + −", " − ")
        return Written(text, SUM if text.startswith("−") else _binding(template))


def _operands(node: Tensor) -> dict[str, Tensor]:
    return dict(zip(node.primitive.argument_names, node.inputs, strict=False))


def _binding(template: str) -> int:
    """How tightly a template binds: as its loosest operator that is in no brackets."""
    outside = re.sub(r"\([^()]*\)|\[.*\]|\|.*\|", "", template)
    for operators, binds in (("+−", SUM), ("⊙/", PRODUCT), (" ", BESIDE), ("ᵗ√²^", TIGHT)):
        if any(operator in outside for operator in operators):
            return binds
    return ATOM


def _is_number(x: Tensor) -> bool:
    """Whether a Tensor is a bare number in its user's expression: a nameless scalar constant."""
    return x.name is None and x.is_leaf and not x.requires_grad and x.size == 1


def _number(value: float) -> str:
    return "½" if value == 0.5 else f"{value:.4g}".replace("-", "−")
