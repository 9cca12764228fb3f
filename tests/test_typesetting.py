import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.typesetting import LATEX, MARKUP, PLAIN

TEMPLATES = sorted({t for p in TABLE.values() for t in (p.written, *p.derivatives) if t})


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


@pytest.mark.parametrize(
    "template, latex",
    [
        ("{f}′({x})", "{f}'({x})"), ("ᵗ{W}", "{}^t{W}"), ("{x} ⊙ {y}", r"{x} \odot {y}"), ("{W} {x}", r"{W}\,{x}"),
        ("−{x}/{y}²", "-{x}/{{y}{}}^2"), ("√{x}", r"\sqrt{{x}}"), ("exp({x})", r"\exp({x})"),
        ("arctan2({x}, {y})", r"\operatorname{arctan2}({x}, {y})"),
        ("softplus({x})", r"\operatorname{softplus}({x})"), ("arctan2({x}, {y})", r"\operatorname{arctan2}({x}, {y})"),
        ("{y} {x}^({y} − 1)", r"{y}\,{{x}{}}^{{y} - 1}"),
        ("{x}^{y} log({x})", r"{{x}{}}^{{y}}\,\log({x})"), ("Σ {x}", r"\textstyle\sum\,{x}"),
    ],
)  # fmt: skip
def test_templates_in_latex(template, latex):
    assert LATEX.template(template) == latex


@pytest.mark.parametrize("setting", [PLAIN, LATEX, MARKUP])
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_keeps_its_operands_in_their_order(template, setting):
    operands = re.findall(r"\{[a-zA-Z]\}", template)
    assert re.findall(r"\{[a-zA-Z]\}", setting.template(template)) == operands


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
