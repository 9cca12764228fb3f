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
    r" ?(?P<infix>[-+−⊙=≠<≤>≥,]| / | (?:mod|and|or)(?= )) ?|(?P<number>\d+(?:\.\d+)?|½)|(?P<prefix>Σ|not|either) "
    r"|(?P<name>\{f\}′?(?=\()|(?!ᵗ)[^\W\d_]\w*(?:(?: [^\W\d_]\w*)*(?=\())?)|\{(?P<operand>\w+)\}"
    r"|(?P<sign>\[…\]|\S| (?=\S))"
)
_INFIXES = {**dict.fromkeys(("=", "≠", "<", "≤", ">", "≥", " mod", " and", " or"), (0, "relation")),
            "+": (1, "sum"), "−": (1, "sum"), "⊙": (2, "times"), " / ": (2, "over"), "/": (2, "over"),
            " ": (3, "matrix"), **dict.fromkeys("^²³", (4, "power")), "[…]": (4, "part")}  # fmt: skip
_PREFIXES = {"−": (2, "negative"), "Σ": (2, "total"), "ᵗ": (4, "transposed"), "√": (4, "root"),
             "not": (0, "words"), "either": (0, "words")}  # fmt: skip
_FUNCTION = "{f}"
_BRACKETS = {"(": (")", ""), "|": ("|", "size"), "[": ("]", "brackets")}
_SIMPLER: dict[str, Any] = {"sum": trees.plus, "negative": trees.negative, "times": trees.times, "over": trees.over,
            "power": trees.power, "transposed": trees.transposed, "matrix": trees.matrix,
            "total": trees.weight}  # fmt: skip


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
    tokens = [("end", ""), *[(match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(template)][::-1]]

    def skipped(text: str) -> bool:
        return tokens[-1][1] == text and bool(tokens.pop())

    def tree(least: int = 0) -> Tree:
        """The next operand, with all operators behind it that bind at least so tightly."""
        left = operand()
        while _INFIXES.get(tokens[-1][1], (-1, ""))[0] >= least:
            _, sign = tokens.pop()
            level, head = _INFIXES[sign]
            if sign == "[…]":
                left = Tree(head, [left])
                continue
            right = number("²³".index(sign) + 2) if sign in "²³" else tree(level + 1)
            right = Tree("negative", [right]) if sign == "−" else right
            head = "times" if sign == " " and left.is_number() else head
            left = Tree(head, [left, right], {"relation": sign.strip(), "over": sign}.get(head))
        return left

    def operand() -> Tree:
        kind, text = tokens.pop()
        if kind == "operand":
            return Tree("operand", of=text)
        if kind == "number":
            return number(0.5 if text == "½" else float(text))
        if kind == "name":
            arguments: list[Tree] = []
            while skipped("," if arguments else "("):
                arguments.append(tree())
            if arguments and not skipped(")"):
                _failed(template)
            head = "prime" if text.endswith("′") else "applied"
            return Tree(head, arguments, _FUNCTION if text.startswith(_FUNCTION) else text)
        if text in _PREFIXES:
            least, head = _PREFIXES[text]
            return Tree(head, [tree(least)], text if head == "words" else None)
        if text not in _BRACKETS:
            _failed(template)
        inside, (end, head) = tree(), _BRACKETS[text]
        return (Tree(head, [inside]) if head else inside) if skipped(end) else _failed(template)

    found = tree()
    return found if skipped("") else _failed(template)


def _failed(template: str) -> Any:
    raise ValueError(f"{template!r}: the notation cannot be read")
