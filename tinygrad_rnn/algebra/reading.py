"""The notation of the table, read: from "{y} ⊙ {x}^({y} − 1)" and its operands to a tree.

From the loosest to the tightest: relations, as in x = y; sums; ⊙, / and Σ; juxtaposition, as in W x; powers, ᵗ and √;
names, numbers, f(x), |x|, (x), [x].
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.trees import Tree, number

_TOKEN = re.compile(
    r" ?(?P<infix>[-+−⊙=≠<≤>≥,]| / | (?:mod|and|or)(?= )) ?|(?P<call>[^\W\d_]\w*(?: [^\W\d_]\w*)*)\(|(?P<f>\{f\}′?)\("
    r"|\{(?P<operand>\w+)\}|(?P<number>\d+(?:\.\d+)?|½)|(?P<prefix>Σ|not|either) |(?P<word>(?!ᵗ)[^\W\d_]\w*)"
    r"|(?P<sign>\[…\]|\S| (?=\S))"
)
_RELATIONS = dict.fromkeys(("=", "≠", "<", "≤", ">", "≥", " mod", " and", " or"), 0)
_LEVELS = {**_RELATIONS, "+": 1, "−": 1, "⊙": 2, " / ": 2, "/": 2, " ": 3, "^": 4, "²": 4, "³": 4, "[…]": 4}
_PREFIXES = {"−": (2, "negative"), "Σ": (2, "total"), "ᵗ": (4, "transposed"), "√": (4, "root"),
             "not": (0, "words"), "either": (0, "words")}  # fmt: skip
_FUNCTION = "{f}"
_BRACKETS = {"(": (")", ""), "|": ("|", "size"), "[": ("]", "brackets")}
_SIMPLER = {"sum": trees.plus, "negative": trees.negative, "times": trees.times, "over": trees.over,
            "power": trees.power, "transposed": trees.transposed, "matrix": trees.matrix}  # fmt: skip


def read(template: str, operands: Mapping[str, Tree], function: Any, simplified: bool = True) -> Tree:
    """A template with operands in the place of their names in braces.

    Args:
        function: what `{f}` stands for: the primitive; of a derivative, the node that it is taken of.
        simplified: whether the tree is simplified as it is made, or is what stands there.

    Raises:
        ValueError: the template cannot be read, or has another operand.
    """

    def filled(t: Tree) -> Tree:
        if t.head == "operand":
            return operands[t.of] if t.of in operands else _failed(template)
        parts = [filled(part) for part in t.parts]
        if t.head in _SIMPLER and (simplified or t.head == "matrix"):
            return _SIMPLER[t.head](*parts)
        shape = () if t.head == "total" else None
        return Tree(t.head, parts, function if t.of is _FUNCTION else t.of, shape) if parts else t

    return filled(_parsed(template))


@functools.cache
def _parsed(template: str) -> Tree:
    """A template as a tree, with operands to be filled in."""
    tokens = [(match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(template)][::-1]

    def made(head: str, *parts: Tree, of: Any = None) -> Tree:
        return Tree(head, parts, of)

    def skipped(text: str) -> bool:
        return bool(tokens) and tokens[-1][1] == text and bool(tokens.pop())

    def tree(least: int = 0) -> Tree:
        """What stands next, with all operators that bind at least so tightly."""
        left = operand()
        while tokens and _LEVELS.get(tokens[-1][1], -1) >= least:
            sign = tokens.pop()[1]
            if sign in "²³":
                left = made("power", left, number("²³".index(sign) + 2))
            elif sign == "[…]":
                left = made("part", left)
            else:
                left = joined(left, sign, tree(_LEVELS[sign] + 1))
        return left

    def joined(left: Tree, sign: str, right: Tree) -> Tree:
        match sign:
            case "+" | "−":
                return made("sum", left, right if sign == "+" else made("negative", right))
            case "⊙":
                return made("times", left, right)
            case "/" | " / ":
                return made("over", left, right, of="spaced" if sign == " / " else None)
            case " ":
                return made("times" if left.is_number() else "matrix", left, right)
            case "^":
                return made("power", left, right)
        return made("relation", left, right, of=sign.strip())

    def arguments() -> list[Tree]:
        found = [tree()]
        while skipped(","):
            found.append(tree())
        return found if skipped(")") else _failed(template)

    def operand() -> Tree:
        kind, text = tokens.pop() if tokens else _failed(template)
        if kind == "operand":
            return made("operand", of=text)
        if kind == "number":
            return number(0.5 if text == "½" else float(text))
        if kind == "call":
            return made("applied", *arguments(), of=text)
        if kind == "word":
            return made("applied", of=text)
        if kind == "f":
            return made("prime" if text.endswith("′") else "applied", *arguments(), of=_FUNCTION)
        if text in _PREFIXES:
            least, head = _PREFIXES[text]
            return made(head, tree(least), of=text if head == "words" else None)
        if text not in _BRACKETS:
            _failed(template)
        inside, (end, head) = tree(), _BRACKETS[text]
        return (made(head, inside) if head else inside) if skipped(end) else _failed(template)

    found = tree()
    return _failed(template) if tokens else found


def _failed(template: str) -> Any:
    raise ValueError(f"{template!r}: the notation cannot be read")
