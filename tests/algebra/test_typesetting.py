import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.trees import read, symbol
from tinygrad_rnn.algebra.typesetting import LATEX, MARKUP, PLAIN
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import Tensor


@pytest.mark.parametrize(
    "parts, plain, latex, markup",
    [
        (("h", "", "(2)"), "h⁽²⁾", "h^{(2)}", "<I>h</I><SUP>(2)</SUP>"),
        (("W", "x", ""), "W_x", "W_{x}", "<I>W</I><SUB>x</SUB>"),
        (("s", "3", ""), "s₃", "s_{3}", "<I>s</I><SUB>3</SUB>"),
        (("ĥ", "2", "(3)"), "ĥ₂⁽³⁾", r"\hat{h}_{2}^{(3)}", "<I>ĥ</I><SUB>2</SUB><SUP>(3)</SUP>"),
        (("α", "", ""), "α", r"\alpha{}", "<I>α</I>"),
        (("loss", "", ""), "loss", r"\mathrm{loss}", "<I>loss</I>"),
    ],
)
def test_a_variable_with_its_indices(parts, plain, latex, markup):
    assert [setting.variable(*parts) for setting in (PLAIN, LATEX, MARKUP)] == [plain, latex, markup]


TEMPLATES = sorted({t for p in TABLE.values() if not p.variadic for t in (p.written, *p.derivatives) if t})


def set_in(setting, template, called=str):
    """A template of the table, with its operands named."""
    operands = {name: Tensor(1.0, name=called(name)) for name in re.findall(r"\{(\w+)\}", template) if name != "f"}
    node = tg.tanh(Tensor(1.0, requires_grad=True))
    function = node if "′" in template else node.primitive
    tree = read(template, {name: symbol(x) for name, x in operands.items()}, function, simplified=False)
    return Writer(Names([*operands.values(), node]), setting=setting).text(tree)


@pytest.mark.parametrize(
    "template, latex",
    [
        ("{f}′({x})", "f'(x)"), ("ᵗ{W}", "{}^tW"), ("{W} {x}", r"W\,x"), ("−{x}/{y}²", "-x/{y{}}^{2}"),
        ("√{x}", r"\sqrt{x}"), ("exp({x})", r"\exp(x)"), ("softplus({x})", r"\operatorname{softplus}(x)"),
        ("arctan2({x}, {y})", r"\operatorname{arctan2}(x, y)"), ("Σ {x}", r"\textstyle\sum\,x"),
        ("log softmax({x})", r"\log\operatorname{softmax}(x)"), ("[{x} > {y}]", "[x > y]"), ("|{x}|", "|x|"),
        ("{x}^({y} − 1)", "{x{}}^{y - 1}"),
    ],
)  # fmt: skip
def test_the_table_s_notation_in_latex(template, latex):
    assert set_in(LATEX, template) == latex


@pytest.mark.parametrize("setting", [PLAIN, LATEX, MARKUP])
def test_every_template_keeps_its_operands_in_their_order(setting):
    """Where x stands before y in the table, it does in the text."""
    for template in TEMPLATES:
        operands = re.findall(r"\{([a-zA-Z])\}", template.replace("{f}", ""))
        text = set_in(setting, template, lambda name: f"7{ord(name):03}")
        assert [chr(int(found)) for found in re.findall(r"7(\d{3})", text)] == operands, template


@given(st.text(min_size=1), st.text(max_size=3))
def test_a_name_stays_text_in_markup(base, below):
    allowed = "".join(c for c in base + below if c.isprintable())
    tree = ElementTree.fromstring(f"<p>{MARKUP.variable(allowed, '', '')}</p>")
    assert "".join(tree.itertext()) == allowed and [e.tag for e in tree.iter()] == ["p", "I"]


@given(st.text(min_size=1))
def test_a_name_in_latex_has_no_character_that_commands(base):
    text = LATEX.variable(base)
    assert text.isascii()
    assert not re.search(r"(?<!\\)[#$%&]|(?<!\\)~|\\(?![a-zA-Z#$%&_{} ])", text.replace(r"\backslash{}", ""))


def test_numbers():
    assert [s.number(0.5) for s in (PLAIN, LATEX)] == ["½", r"\tfrac12"]
    assert [s.number(-2e-5) for s in (PLAIN, LATEX)] == ["−2e−05", r"-2 \times 10^{-5}"]
