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
_INFIXES = {",": (0, "list"),
            **dict.fromkeys(("=", "≠", "<", "≤", ">", "≥", " mod", " and", " or"), (1, "relation")),
            "+": (2, "sum"), "−": (2, "sum"), "⊙": (3, "times"), " / ": (3, "over"), "/": (3, "over"),
            " ": (4, "matrix"), **dict.fromkeys("^²³", (5, "power")), "[…]": (5, "part")}  # fmt: skip
_PREFIXES = {"−": (3, "negative"), "Σ": (3, "total"), "ᵗ": (5, "transposed"), "√": (5, "root"),
             "not": (1, "words"), "either": (1, "words")}  # fmt: skip
_AFTER = {"²": [number(2)], "³": [number(3)], "[…]": []}  # with nothing more on the right
_BRACKETS = {"(": (")", ""), "|": ("|", "size"), "[": ("]", "brackets")}
_FUNCTION = "{f}"
_SIMPLER: dict[str, Any] = {"sum": trees.plus, "negative": trees.negative, "times": trees.times, "over": trees.over,
            "power": trees.power, "transposed": trees.transposed, "matrix": trees.matrix,
            "total": trees.weight}  # fmt: skip


def read(template: str, operands: Mapping[str, Tree], function: Any, simplified: bool = True) -> Tree:
    """A template with operands in the place of their names in braces.

    Args:
        function: what `{f}` stands for: the primitive; of a derivative, the node that it is taken of.
        simplified: whether the tree is simplified as it is made, or is what stands there.

    Raises:
        KeyError, ValueError: the template cannot be read, or has another operand.
    """

    def filled(t: Tree) -> Tree:
        if t.head == "operand":
            return operands[t.of]
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

    def tree(least: int, end: str | None = None) -> Tree:
        """The next operand, with all operators behind it that bind at least so tightly; and what it ends with."""
        left = operand()
        while _INFIXES.get(tokens[-1][1], (-1, ""))[0] >= least:
            _, sign = tokens.pop()
            level, head = _INFIXES[sign]
            right = _AFTER[sign] if sign in _AFTER else [tree(level + 1)]
            right = [Tree("negative", right)] if sign == "−" else right
            head = "times" if sign == " " and left.is_number() else head
            before = left.parts if left.head == "list" else [left]
            left = Tree(head, [*before, *right], {"relation": sign.strip(), "over": sign}.get(head))
        if end is not None and tokens.pop()[1] != end:
            raise ValueError(f"{template!r}: the notation cannot be read")
        return left

    def operand() -> Tree:
        kind, text = tokens.pop()
        if kind == "operand":
            return Tree("operand", of=text)
        if kind == "number":
            return number(0.5 if text == "½" else float(text))
        if kind == "name":
            inside = tree(0, ")") if tokens[-1][1] == "(" and tokens.pop() else Tree("list")
            arguments = inside.parts if inside.head == "list" else [inside]
            head = "prime" if text.endswith("′") else "applied"
            return Tree(head, arguments, _FUNCTION if text.startswith(_FUNCTION) else text)
        if text in _PREFIXES:
            least, head = _PREFIXES[text]
            return Tree(head, [tree(least)], text if head == "words" else None)
        end, head = _BRACKETS[text]
        inside = tree(1, end)
        return Tree(head, [inside]) if head else inside

    return tree(1, "")
