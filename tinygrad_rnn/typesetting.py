r"""How written mathematics is set: as plain text, in LaTeX, or in markup.

Each of the three sets the same parts: a variable with its indices, a number, and the templates of the table of
primitives, such as "{f}′({x})", in which `notation.Writer` then fills in the operands.

    PLAIN   h⁽²⁾                      ᵗU f′(ĥ⁽²⁾)             for terminals, tooltips and data
    LATEX   h^{(2)}                   {}^tU\,f'(\hat{h}^{(2)})   for documents with amsmath, and for MathJax
    MARKUP  <I>h</I><SUP>(2)</SUP>                            for labels of Graphviz, and for HTML

A name is never more than text: what would be a command or a tag in it is escaped.
"""

import re
import unicodedata
from html import escape

_RAISED = str.maketrans("0123456789()-−t", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻⁻ᵗ")
_LOWERED = str.maketrans("0123456789-", "₀₁₂₃₄₅₆₇₈₉₋")

# fmt: off
_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0307": "dot", "\u0308": "ddot"}
_LATEX_FUNCTIONS = {"arctan", "cos", "cosh", "exp", "log", "max", "min", "sin", "sinh", "tanh"}
_LATEX_CAPITALS = {"GAMMA", "DELTA", "THETA", "LAMDA", "XI", "PI", "SIGMA", "UPSILON", "PHI", "PSI", "OMEGA"}
_LATEX_SYMBOLS = {"−": "-", "⊙": r"\odot", "ᵗ": "{}^t", "²": "^2", "′": "'", "Σ": r"\textstyle\sum", "…": r"\dots",
                  "×": r"\times", "⋯": r"\cdots", "∂": r"\partial"}
_LATEX_ESCAPES = {"\\": r"\backslash{}", "~": r"{\sim}", "^": r"{\wedge}", " ": r"\ ", "'": "{'}", '"': "{''}",
                  "`": "{`}", **{c: "\\" + c for c in "#$%&_{}"}}
# fmt: on


class Typesetting:
    """Plain Unicode text, and what the others have in common with it."""

    minus = "−"
    beside = " "  # between factors
    line = "\n"  # between lines

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        """A name with what stands at its right, below and above: h⁽²⁾, W_x, s₃."""
        lowered = below.translate(_LOWERED) if re.fullmatch(r"-?\d+", below) else f"_{below}" if below else ""
        return base + lowered + above.translate(_RAISED)

    def number(self, value: float) -> str:
        """A number in four digits; one half as ½."""
        return "½" if value == 0.5 else f"{value:.4g}".replace("-", "−")

    def template(self, text: str) -> str:
        """A template of the table, its operators and functions set, its operands still in braces."""
        return re.sub(r"\^\((−?\d+)\)", lambda exponent: exponent[1].translate(_RAISED), text)

    def derivative(self, of: str, by: str, direct: bool) -> str:
        """∂of/∂by; the direct one, of all else held fixed, as ∂⁺of/∂by."""
        return f"∂{'⁺' if direct else ''}{of}/∂{by}"


class _Latex(Typesetting):
    minus = "-"
    beside = r"\,"

    _token = re.compile(
        r"(?P<root>√(?P<radicand>\{\w\}))"
        r"|\^(?P<exponent>\{\w\}|\([^)]*\))"
        r"|(?P<raised>\{\w\})(?=[\^²])"  # it may have an index above it already
        r"|(?P<operand>\{\w\})"
        r"|(?P<word>[A-Za-z]{2,}\d?)"
        r"|(?P<beside>(?<=[}\w)]) (?=[{\w(ᵗ]))"
        r"|(?P<character>.)"
    )

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        indices = [f"{mark}{{{_latex_text(text)}}}" for mark, text in (("_", below), ("^", above)) if text]
        return _latex_name(base) + "".join(indices)

    def number(self, value: float) -> str:
        digits, _, exponent = f"{value:.4g}".partition("e")
        return r"\tfrac12" if value == 0.5 else digits + (rf" \times 10^{{{int(exponent)}}}" if exponent else "")

    def template(self, text: str) -> str:
        return self._token.sub(self._set, text)

    def derivative(self, of: str, by: str, direct: bool) -> str:
        return rf"\frac{{\partial{'^{+}' if direct else ''} {of}}}{{\partial {by}}}"

    def _set(self, token: re.Match) -> str:
        match token.lastgroup:
            case "root":
                return rf"\sqrt{{{token['radicand']}}}"
            case "exponent":
                return f"^{{{self.template(token['exponent'].strip('()'))}}}"
            case "raised":
                return f"{{{token[0]}{{}}}}"  # TeX takes the braces off a letter with an accent that is alone in them
            case "operand":
                return token[0]
            case "word":
                return rf"\{token[0]}" if token[0] in _LATEX_FUNCTIONS else rf"\operatorname{{{token[0]}}}"
            case "beside":
                return self.beside
        symbol = _LATEX_SYMBOLS.get(token[0]) or _greek(token[0]) or token[0]
        return symbol + " " * (symbol.startswith("\\") and self._runs_on(token))

    @staticmethod
    def _runs_on(token: re.Match) -> bool:
        return token.string[token.end() : token.end() + 1].isalpha() or token.string[token.end() :].startswith("{")


class _Markup(Typesetting):
    line = "<BR/>"

    _token = re.compile(r"\{\w\}|\^\{\w\}|\^\([^)]*\)|[A-Za-z]{2,}|.")

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        indices = [f"<{tag}>{escape(text)}</{tag}>" for tag, text in (("SUB", below), ("SUP", above)) if text]
        return f"<I>{escape(base)}</I>" + "".join(indices)

    def template(self, text: str) -> str:
        return self._token.sub(lambda token: self._set(token[0]), text)

    def _set(self, token: str) -> str:
        if token[0] == "^" and len(token) > 1:
            return f"<SUP>{self.template(token[1:].removeprefix('(').removesuffix(')'))}</SUP>"
        if token in ("ᵗ", "²"):
            return f"<SUP>{unicodedata.normalize('NFKC', token)}</SUP>"
        if len(token) == 1 and token.isascii() and token.isalpha():
            return f"<I>{token}</I>"
        return token if token.startswith("{") else escape(token)


PLAIN, LATEX, MARKUP = Typesetting(), _Latex(), _Markup()


def _latex_name(text: str) -> str:
    """A name of one letter as it is, and a longer one upright."""
    letters = [c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)]
    return _latex_text(text) if len(letters) == 1 else rf"\mathrm{{{_latex_text(text)}}}"


def _latex_text(text: str) -> str:
    """Characters that name something as LaTeX: letters with accents, Greek letters; others by their number."""
    letters: list[str] = []
    for c in unicodedata.normalize("NFD", text):
        if c in _ACCENTS and letters:
            letters[-1] = rf"\{_ACCENTS[c]}{{{letters[-1]}}}"
        elif c.isascii():
            letters.append(_LATEX_ESCAPES.get(c, c))
        else:
            greek = _greek(c)
            letters.append(rf"{greek}{{}}" if greek else rf"\mathrm{{U{{+}}{ord(c):04X}}}")
    return "".join(letters)


def _greek(c: str) -> str | None:
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(c, ""))
    if match is None or (match[1] == "CAPITAL" and match[2] not in _LATEX_CAPITALS) or match[2] == "OMICRON":
        return None
    name = match[2].replace("LAMDA", "LAMBDA")
    return rf"\{name.lower() if match[1] == 'SMALL' else name.capitalize()}"
