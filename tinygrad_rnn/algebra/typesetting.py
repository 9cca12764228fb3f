r"""Typesetting of formulas: as plain text, in LaTeX, or in markup.

    PLAIN   h⁽²⁾                      ᵗU f′(ĥ⁽²⁾)             for terminals, tooltips and data
    LATEX   h^{(2)}                   {}^tU\,f'(\hat{h}^{(2)})   for documents with amsmath, and for MathJax
    MARKUP  <I>h</I><SUP>(2)</SUP>                            for labels of Graphviz, and for HTML

Each of the three sets the same parts: a variable with its indices, a number, an operator, a word, what is raised. A
name is never more than text: what would be a command or a tag in it is escaped.
"""

import re
import unicodedata
from html import escape

_RAISED = str.maketrans("0123456789()-−+t", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻⁻⁺ᵗ")
_LOWERED = str.maketrans("0123456789-", "₀₁₂₃₄₅₆₇₈₉₋")

# fmt: off
ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304", "dot": "\u0307", "ddot": "\u0308"}
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η",
         "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
         "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
         "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ",
         "Upsilon": "Υ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω"}
_ACCENTS, _GREEK = ({letter: f"\\{command}" for command, letter in known.items()} for known in (ACCENTS, GREEK))
_LATEX_FUNCTIONS = {"arctan", "cos", "cosh", "exp", "log", "max", "min", "sin", "sinh", "tanh"}
_LATEX_SYMBOLS = {"−": "-", "⊙": r"\odot", "′": "'", "Σ": r"\textstyle\sum", "…": r"\dots", "⋯": r"\cdots",
                  "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "⁺": "^{+}"}
_LATEX_ESCAPES = {"\\": r"\backslash{}", "~": r"{\sim}", "^": r"{\wedge}", " ": r"\ ", "'": "{'}", '"': "{''}",
                  "`": "{`}", "′": r"{\prime}", **{c: "\\" + c for c in "#$%&_{}"}}
# fmt: on


class Typesetting:
    """Plain Unicode text, and what the others have in common with it."""

    beside = " "  # between factors
    line = "\n"  # between lines
    before, after = "ᵗ%s", "%sᵀ"  # the transpose of what is put in
    fraction = "∂%s%s/∂%s"

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        """A name with what stands at its right, below and above: h⁽²⁾, W_x, s₃."""
        lowered = below.translate(_LOWERED) if re.fullmatch(r"-?\d+", below) else f"_{below}" if below else ""
        return base + lowered + above.translate(_RAISED)

    def number(self, value: float) -> str:
        """A number in four digits; one half as ½."""
        return "½" if value == 0.5 else f"{value:.4g}".replace("-", "−")

    def operator(self, text: str) -> str:
        """An operator, or dots."""
        return text

    def word(self, text: str) -> str:
        """The name of a function or an operation, or a letter that is one."""
        return text

    def raised(self, base: str, exponent: str, inside: str) -> str:
        """x², x^(0.5), x^(y − 1): a base with an exponent in parentheses, if need be, and what is inside of them."""
        whole = re.fullmatch(r"\(−?\d+\)", exponent)  # a number, not the name of a variable
        return base + inside.translate(_RAISED) if whole else f"{base}^{exponent}"

    def power_of_ten(self, exponent: int) -> str:
        """10⁻³."""
        text = str(exponent).replace("-", "−")
        return self.raised("10", f"({text})", text)

    def root(self, text: str, inside: str) -> str:
        """A square root, of a text that is in parentheses if need be, and what it is inside of them."""
        return f"√{text}"

    def derivative(self, of: str, by: str, direct: bool = False) -> str:
        """∂of/∂by; the direct one, of all else held fixed, as ∂⁺of/∂by."""
        return self.fraction % (self.operator("⁺" * direct), of, by)


class _Latex(Typesetting):
    beside = r"\,"
    before, after = "{}^t%s", r"{%s{}}^\top"
    fraction = r"\frac{\partial%s %s}{\partial %s}"

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        name, marks = _latex_name(base), (("_", below), ("^", above))
        marks = marks[::-1] if name.endswith("'") else marks  # TeX puts a prime and what is above only side by side
        return name + "".join(f"{mark}{{{_latex_text(text)}}}" for mark, text in marks if text)

    def number(self, value: float) -> str:
        digits, _, exponent = f"{value:.4g}".partition("e")
        return r"\tfrac12" if value == 0.5 else digits + (rf" \times 10^{{{int(exponent)}}}" if exponent else "")

    def operator(self, text: str) -> str:
        return "".join(_LATEX_SYMBOLS.get(c, c) for c in text)

    def word(self, text: str) -> str:
        if len(text) == 1:
            return _latex_name(text).removesuffix("{}")
        return "".join(rf"\{w}" if w in _LATEX_FUNCTIONS else rf"\operatorname{{{w}}}" for w in text.split())

    def raised(self, base: str, exponent: str, inside: str) -> str:
        return f"{{{base}{{}}}}^{{{inside}}}"  # the base may have an index there; alone, TeX takes its braces off

    def root(self, text: str, inside: str) -> str:
        return rf"\sqrt{{{inside}}}"


class _Markup(Typesetting):
    line = "<BR/>"
    before, after = "<SUP>t</SUP>%s", "%s<SUP>T</SUP>"

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        indices = [f"<{tag}>{escape(text)}</{tag}>" for tag, text in (("SUB", below), ("SUP", above)) if text]
        return f"<I>{escape(base)}</I>" + "".join(indices)

    def operator(self, text: str) -> str:
        return escape(text)

    def word(self, text: str) -> str:
        return f"<I>{text}</I>" if len(text) == 1 and text.isalpha() and text.isascii() else escape(text)

    def raised(self, base: str, exponent: str, inside: str) -> str:
        return f"{base}<SUP>{inside}</SUP>"


PLAIN, LATEX, MARKUP = Typesetting(), _Latex(), _Markup()


def _latex_name(text: str) -> str:
    """A name of one letter as it is, and a longer one upright; with its primes."""
    base = text.rstrip("′") or text
    letters = [c for c in unicodedata.normalize("NFD", base) if not unicodedata.combining(c)]
    name = _latex_text(base) if len(letters) == 1 else rf"\mathrm{{{_latex_text(base)}}}"
    return name + "'" * (len(text) - len(base))


def _latex_text(text: str) -> str:
    """Characters that name something as LaTeX: letters with accents, Greek letters; others by their number."""
    letters: list[str] = []
    for c in unicodedata.normalize("NFD", text):
        if c in _ACCENTS and letters:
            letters[-1] = f"{_ACCENTS[c]}{{{letters[-1]}}}"
        elif c in _GREEK:
            letters.append(f"{_GREEK[c]}{{}}")
        else:
            letters.append(_LATEX_ESCAPES.get(c, c if c.isascii() else rf"\mathrm{{U{{+}}{ord(c):04X}}}"))
    return "".join(letters)
