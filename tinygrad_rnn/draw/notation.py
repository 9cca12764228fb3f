"""How a person writes what a recorded graph holds: variables with their step, expressions, and local derivatives.

Nothing here knows a derivative. `Writer` fills in the notation that stands beside each rule in the table of primitives,
and multiplies it along a path of folded primitives: the five derivatives of seed 001, section 7.2.3, come out as
f′(ĥ), ᵗh, ᵗx, 1 and ᵗU. All text is plain Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

__all__ = ["SUPERSCRIPTS", "Hop", "Writer", "superscript", "symbol"]

Hop = tuple[Tensor, int]  # one local derivative of a path: a node, and which of its inputs

_RAISED = str.maketrans("0123456789()-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻")
SUPERSCRIPTS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗ")
_LEADING_NUMBER = re.compile(r"(−?)(?:(\d+(?:\.\d+)?)(?:\s|$))?(.*)")
_LONGEST_NAME = 24
_DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep


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
        steps: the time step that a variable's name is indexed with, for those that have one.
    """

    def __init__(self, nodes: Iterable[Tensor], steps: dict[Tensor, int]):
        self.steps = steps
        self.nonlinearities = sorted({n.primitive.name for n in nodes if n.primitive and "{f}" in n.primitive.written})

    def variable(self, tensor: Tensor) -> str:
        """A variable's name with its step, h⁽²⁾; a nameless constant's value, or its shape if it has several."""
        if tensor.name is not None:
            name = " ".join(tensor.name.split())
            name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
            return name + (superscript(self.steps[tensor]) if tensor in self.steps else "")
        if tensor.size == 1:
            return f"{tensor.item():.4g}".replace("-", "−")
        return "×".join(map(str, tensor.shape))

    def expression(self, node: Tensor, depth: int = _DEEPEST) -> str:
        """How a node was made, down to named variables: U h⁽¹⁾ + b."""
        if node.primitive is None:
            return self.variable(node)
        if depth == 0:
            return "…"
        primitive = node.primitive
        if not primitive.letters:
            return f"{primitive.name}({', '.join(self.operand(x, depth - 1) for x in node.inputs)})"
        return self._fill(primitive.written, node, depth - 1)

    def operand(self, x: Tensor, depth: int = _DEEPEST) -> str:
        """An input as its user's expression holds it: the variable if it has a name, else how it was made."""
        return self.variable(x) if x.name is not None or x.primitive is None else self.expression(x, depth)

    def legend(self) -> str:
        """What f stands for."""
        return f"f = {self.nonlinearities[0]}" if len(self.nonlinearities) == 1 else ""

    def function(self, node: Tensor) -> str:
        """The letter of the function that makes a node from its one input, as f in f(ĥ); empty if it is no such one."""
        match = re.fullmatch(r"(\{f\}|\w+)\(\{\w+\}\)", node.primitive.written)
        return match[1].replace("{f}", self._f(node.primitive)) if match else ""

    def derivative(self, hop: Hop) -> str:
        """The local derivative of a node with respect to one of its inputs, as its primitive's row writes it."""
        node, i = hop
        return self._fill(node.primitive.derivatives[i], node, _DEEPEST)

    def product(self, path: Iterable[Hop]) -> str:
        """The chain rule along a path, from the output's end: its local derivatives multiplied, numbers first."""
        coefficient, factors = Fraction(1), []
        for hop in path:
            sign, number, rest = _LEADING_NUMBER.fullmatch(self.derivative(hop)).groups()
            coefficient *= Fraction(number or 1) * (-1 if sign else 1)
            if rest:
                factors.append(rest)
        if not factors or coefficient == 0:
            return _number(coefficient)
        if len(factors) == 1 and coefficient == 1 and not _is_sum(factors[0]) and _is_sum(factors[0][1:-1]):
            return factors[0].removeprefix("(").removesuffix(")")
        factors = [f"({factor})" if _is_sum(factor) and len(factors) > 1 else factor for factor in factors]
        sign = {1: "", -1: "−"}.get(coefficient)
        return (f"{_number(coefficient)} " if sign is None else sign) + " ".join(factors)

    def _f(self, primitive: Primitive) -> str:
        return "f" if self.nonlinearities == [primitive.name] else primitive.name

    def _fill(self, template: str, node: Tensor, depth: int) -> str:
        """A template with the node's operands in it, a sum in parentheses wherever it is not a whole operand."""
        primitive = node.primitive
        written = dict(zip(primitive.letters, [self.operand(x, depth) for x in node.inputs], strict=False))

        def operand(match: re.Match) -> str:
            if match[1] == "f":
                return self._f(primitive)
            text = written[match[1]]
            before, after = template[: match.start()], template[match.end() :]
            enclosed = before.endswith(("(", "|", "[", ", ", " + ")) or (not before and after[:3] in ("", " + ", " − "))
            return f"({text})" if _is_sum(text) and not enclosed else text

        filled = re.sub(r"\{(\w+)\}", operand, template)
        return re.sub(r"(?<![\w.⁾])(\d+(?:\.\d+)?) ⊙ ", r"\1 ", filled)  # a number times something: no sign between


def _is_sum(text: str) -> bool:
    """Whether a + or − stands outside of all parentheses."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and text[i : i + 3] in (" + ", " − "):
            return True
    return False


def _number(value: Fraction) -> str:
    if value == Fraction(1, 2):
        return "½"
    text = str(value.numerator) if value.denominator == 1 else f"{float(np.round(float(value), 4)):g}"
    return text.replace("-", "−")
