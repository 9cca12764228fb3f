"""The notation of the table, read: from "{y} {x}^({y} − 1)" and operands to a tree.

From the loosest to the tightest: x and y, x = y; sums; ⊙, / and Σ; juxtaposition, as in W x; ᵗ, √ and powers; names,
numbers, f(x), |x|, (x), [x].
"""

import re
from collections.abc import Mapping
from typing import Any

from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.trees import Tree, number

_TOKEN = re.compile(r"\{(?P<operand>\w+)\}|(?P<number>\d+(?:\.\d+)?)|(?P<word>[^\W\d_]\w*)|(?P<sign>\S)|(?P<space> )")
_RELATIONS = {"=", "≠", "<", "≤", ">", "≥", "and", "or", "mod"}
_BRACKETS = {"(": (")", ""), "|": ("|", "size"), "[": ("]", "brackets")}
_SIMPLER = {"sum": trees.plus, "negative": trees.negative, "times": trees.times, "over": trees.over,
            "power": trees.power, "transposed": trees.transposed, "matrix": trees.matrix}  # fmt: skip


def read(template: str, operands: Mapping[str, Tree], function: Any, simplified: bool = True) -> Tree:
    """A template with operands in the place of their names in braces.

    Args:
        function: what `{f}` stands for: the primitive; of a derivative, the node that it is taken of.
        simplified: whether the tree is simplified as it is made, or is what stands there.

    Raises:
        ValueError: the template is not read to its end, or names another operand.
    """
    reader = _Reader(template, operands, function, simplified)
    tree = reader.relation()
    if reader.tokens:
        raise reader.error()
    return tree


class _Reader:
    def __init__(self, template: str, operands: Mapping[str, Tree], function: Any, simplified: bool):
        self.template, self.operands, self.function, self.simplified = template, operands, function, simplified
        self.tokens = [(match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(template)][::-1]

    def error(self) -> ValueError:
        return ValueError(f"{self.template!r}: the notation cannot be read")

    def tree(self, head: str, *parts: Tree, of: Any = None) -> Tree:
        if self.simplified or head == "matrix":
            return _SIMPLER.get(head, lambda *parts: Tree(head, parts, of))(*parts)
        return Tree(head, parts, of)

    def next_is(self, *texts: str, kind: str = "") -> bool:
        """Whether one of some texts, or of a kind of token, comes next."""
        return bool(self.tokens) and (self.tokens[-1][1] in texts or self.tokens[-1][0] == kind)

    def skip(self, text: str) -> bool:
        """Whether this text comes next, after a space or not; which is then read, with a space after it."""
        spaced = len(self.tokens) > 1 and self.tokens[-1][1] == " " and self.tokens[-2][1] == text
        if not spaced and not self.next_is(text):
            return False
        del self.tokens[-1 - spaced :]
        if text not in ")]|²³" and self.next_is(" "):
            self.tokens.pop()
        return True

    def skipped(self, text: str) -> None:
        if not self.skip(text):
            raise self.error()

    def relation(self) -> Tree:
        if prefix := next((word for word in ("not", "either") if self.skip(word)), ""):
            return Tree("words", [self.relation()], prefix)
        left = self.sum()
        while relation := next((word for word in _RELATIONS if self.skip(word)), ""):
            left = Tree("relation", [left, self.sum()], relation)
        return left

    def sum(self) -> Tree:
        left = self.tree("negative", self.product()) if self.skip("−") else self.product()
        while sign := next((sign for sign in "+−" if self.skip(sign)), ""):
            right = self.product()
            left = self.tree("sum", left, right if sign == "+" else self.tree("negative", right))
        return left

    def product(self) -> Tree:
        if self.skip("Σ"):
            return Tree("total", [self.product()], shape=())
        left = self.beside()
        while True:
            if self.skip("⊙"):
                left = self.tree("times", left, self.beside())
            elif self.next_is("/") or (self.next_is(" ") and self.tokens[-2][1] == "/"):
                of = "spaced" if self.next_is(" ") else None
                self.skip("/")
                left = self.tree("over", left, self.beside(), of=of)
            else:
                return left

    def beside(self) -> Tree:
        left = self.raised()
        while self.next_is(" ") and (self.tokens[-2][0] in ("operand", "number") or self.tokens[-2][1] in "ᵗ√(|["):
            self.tokens.pop()
            right = self.raised()
            left = self.tree("times" if left.is_number() else "matrix", left, right)
        return left

    def raised(self) -> Tree:
        for sign, head in (("ᵗ", "transposed"), ("√", "root")):
            if self.skip(sign):
                return self.tree(head, self.raised())
        base = self.atom()
        while True:
            if self.next_is("²", "³"):
                base = self.tree("power", base, number("²³".index(self.tokens.pop()[1]) + 2))
            elif self.skip("^"):
                base = self.tree("power", base, self.atom())
            elif self.next_is("["):
                base = Tree("part", [base])
                while not self.skip("]"):
                    self.tokens.pop()
            else:
                return base

    def atom(self) -> Tree:
        if not self.tokens:
            raise self.error()
        kind, text = self.tokens.pop()
        if kind == "operand" and text == "f" and text not in self.operands:
            head = "prime" if self.skip("′") else "applied"
            return Tree(head, self.arguments(), self.function)
        if kind == "operand" and text in self.operands:
            return self.operands[text]
        if kind == "number":
            return number(float(text))
        if kind == "word":
            while self.next_is(" ") and self.tokens[-2][0] == "word" and self.tokens[-2][1] not in _RELATIONS:
                text += f" {self.tokens[-2][1]}"  # log softmax
                del self.tokens[-2:]
            return number(0.5) if text == "½" else Tree("applied", self.arguments() if self.next_is("(") else (), text)
        if text not in _BRACKETS:
            raise self.error()
        inside, (end, head) = self.relation(), _BRACKETS[text]
        self.skipped(end)
        return Tree(head, [inside]) if head else inside

    def arguments(self) -> list[Tree]:
        self.skipped("(")
        found = [self.relation()]
        while self.skip(","):
            found.append(self.relation())
        self.skipped(")")
        return found
