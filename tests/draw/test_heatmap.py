"""`draw.terms`: the table of ‖∂E_n/∂W through step k‖ as a picture."""

import base64
import re
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.draw.style import ZERO


def test_a_notebook_shows_a_tensor_s_name_step_shape_and_value():
    hs, _ = tg.nn.RNN(2, 3, rng=0)(np.ones((4, 2)))
    text = hs[1]._repr_html_()
    assert "h(2) of shape (3,)" in text and "primitive=tanh" in text and "step=2" in text
    cells = re.findall(r'title="(.*?)" .*?rgba\((\d+), .*?, ([\d.]+)\)', text)
    assert [float(value) for value, _, _ in cells] == pytest.approx(hs[1].tolist(), rel=1e-5)
    assert all((red == "178") == (float(value) > 0) for value, red, _ in cells)
    assert max(float(alpha) for _, _, alpha in cells) == 1.0
    shown = tg.Tensor([[1.0, np.nan], [-np.inf, 0.0]], name="<b>")._repr_html_()
    assert shown.count("nan)") + shown.count("inf)") == 2 and "<b>" not in shown and "&lt;b&gt;" in shown
    for shape, count in {(): 1, (0, 3): 0, (2, 0): 0, (2, 3, 4): 24, (100, 50): 32 * 32}.items():
        assert tg.Tensor(np.zeros(shape))._repr_html_().count("<td") == count


def net(T, kind="RNN", gain=1.0):
    """A net with one loss a step: its readout's matrix and its recurrent one, and the losses."""
    rng = np.random.default_rng(3)
    rnn, readout = getattr(tg.nn, kind)(2, 3, rng=rng), tg.nn.Linear(3, 1, rng=rng)
    U = next(p for p in rnn.parameters() if p.name.startswith("U"))
    U.data *= gain
    hs, _ = rnn(rng.standard_normal((T, 2)))
    return U, readout.parameters()[0], [tg.nn.squared_error(readout(h), np.ones(1)) for h in hs]


def cells(diagram):
    """{(n, k): node}, both from 1 on."""
    return {tuple(map(int, n.id[4:].split("_"))): n for n in diagram.nodes if n.id.startswith("term")}


def number(text):
    """1.5·10⁻³ as a float."""
    digits, _, power = text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")).partition("·10")
    return float(digits) * 10.0 ** int(power or 0)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_cells_are_the_table(kind):
    U, V, losses = net(5, kind)
    for parameter in (U, V):
        table = tg.bptt.contribution_table(losses, parameter)
        found = cells(tg.draw.terms(losses, parameter))
        assert found.keys() == {(n, k) for n in range(1, 6) for k in range(1, 6)}
        for (n, k), cell in found.items():
            norm = table[n - 1, k - 1]
            assert cell.tooltip.startswith(f"L{'⁽' + '⁰¹²³⁴⁵'[n] + '⁾'}, step {k}: ")
            assert float(cell.tooltip.split(": ")[1].replace("−", "-")) == pytest.approx(norm, rel=1e-5)
            assert (cell.label == "") == (norm == 0.0)
            assert not cell.label or number(cell.label) == pytest.approx(norm, rel=0.05)


def test_it_is_a_lower_triangle_filled_by_magnitude():
    U, _, losses = net(8)
    table, diagram = tg.bptt.contribution_table(losses, U), tg.draw.terms(losses, U)
    found = cells(diagram)
    assert all((cell.fill == ZERO) == (k > n or table[n - 1, k - 1] == 0) for (n, k), cell in found.items())
    filled = sorted((key for key in found if found[key].fill != ZERO), key=lambda key: table[key[0] - 1, key[1] - 1])
    shades = [diagram.scale.colours.index(found[key].fill) for key in filled]
    assert len(shades) >= 28 and shades == sorted(shades) and len(set(shades)) > 3


def test_rows_go_down_and_columns_to_the_right():
    U, _, losses = net(4)
    found = cells(tg.draw.terms(losses, U))
    assert len({found[2, k].y for k in range(1, 5)}) == len({found[n, 2].x for n in range(1, 5)}) == 1
    assert found[1, 1].y > found[2, 1].y > found[3, 1].y and found[1, 1].x < found[1, 2].x < found[1, 3].x


def test_a_sum_of_losses_stands_for_its_summands():
    U, _, losses = net(4)
    total = losses[0]
    for E in losses[1:]:
        total = total + E
    listed = tg.draw.terms(losses, U)
    assert tg.draw.terms(total, U) == listed == tg.draw.terms(tg.label(total, "E"), U)


def test_rows_are_called_as_their_losses():
    U, _, losses = net(3)

    def rows(losses, **options):
        return [n.label for n in tg.draw.terms(losses, U, **options).nodes if n.id.startswith("loss")]

    assert rows(losses) == ["L⁽¹⁾", "L⁽²⁾", "L⁽³⁾"] and rows(losses, notation="wildml") == ["E₁", "E₂", "E₃"]
    assert rows([E * 2.0 for E in losses]) == ["E₁", "E₂", "E₃"]
    assert rows([tg.label(E, "J", 7) for E in losses[:1]]) == ["J⁽⁷⁾"]


def test_a_large_table_has_colours_and_no_numbers():
    U, _, losses = net(30)
    diagram = tg.draw.terms(losses, U)
    assert {cell.label for cell in cells(diagram).values()} == {""} and len(cells(diagram)) == 900
    assert [n.label for n in diagram.nodes if re.fullmatch(r"step\d+", n.id)] == [
        "1",
        "5",
        "10",
        "15",
        "20",
        "25",
        "30",
    ]


def dots(diagram):
    """The colours of the dots of the only image in a diagram."""
    (uri,) = [n.image for n in diagram.nodes if n.image]
    png = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += 12 + length
    width, height = struct.unpack_from(">2I", chunks[b"IHDR"])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)[:, 1:]
    palette = np.array([f"#{chunks[b'PLTE'][i : i + 3].hex()}" for i in range(0, len(chunks[b"PLTE"]), 3)])
    return palette[rows]


def test_a_table_beyond_sixty_is_an_image():
    U, _, losses = net(80)
    diagram = tg.draw.terms(losses, U)
    table, picture = tg.bptt.contribution_table(losses, U), dots(diagram)
    _, _, low, high, colours = diagram.scale
    cell = len(picture) // 80
    assert picture.shape == (80 * cell, 80 * cell)
    for n, k in np.ndindex(80, 80):
        (shade,) = set(picture[n * cell : (n + 1) * cell, k * cell : (k + 1) * cell].ravel())
        if table[n, k] == 0.0:
            assert shade == ZERO
        else:
            part = colours.index(shade) + np.array([0.0, 1.0])
            least, most = 10.0 ** (low + part * (high - low) / len(colours))
            assert least * (1 - 1e-9) <= table[n, k] <= most * (1 + 1e-9)
    assert len(diagram.nodes) < 50 and "L⁽⁸⁰⁾" in [n.label for n in diagram.nodes]
    svg = diagram.render("svg").decode()
    assert svg.count('href="data:image/png;base64,') == 1 and "image-rendering" in svg
    assert diagram.render("pdf").startswith(b"%PDF") and len(diagram.render("json")) < 100_000


@pytest.mark.parametrize("gain, steps", [(0.02, 12), (0.1, 30), (1.5, 30)])
def test_the_scale_is_told_by_whole_powers_of_ten(gain, steps):
    U, _, losses = net(steps, gain=gain)
    diagram = tg.draw.terms(losses, U)
    _, _, low, high, colours = diagram.scale
    step = (high - low) / len(colours)
    assert 5 <= len(colours) == len(set(colours)) <= 12 and (step.is_integer() or (1 / step).is_integer())
    root = ET.fromstring(diagram.render("svg"))
    written = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    powers = [int(text.removeprefix("10").replace("−", "-")) for text in written if re.fullmatch("10−?[0-9]+", text)]
    assert powers[0] == low and powers[-1] == high and len(powers) >= (4 if step >= 1 else 2)


def test_the_picture_says_what_the_colours_are():
    U, _, losses = net(4)
    diagram = tg.draw.terms(losses, U)
    root = ET.fromstring(diagram.render("svg"))
    written = "".join("".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")).replace("\xa0", " ")
    name, _, low, high, _ = diagram.scale
    table = tg.bptt.contribution_table(losses, U)
    assert 10**low <= table[table > 0].min() and table.max() <= 10**high
    assert "‖∂E/∂U through step k‖" in name and name in written and written.endswith("0")
    assert not any(p.grad is not None for p in (U, *losses))


def test_bad_input():
    U, _, losses = net(2)
    for wrong, error, said in (
        ((losses, "U"), TypeError, "a Tensor is needed, not a str"),
        (([1.0], U), TypeError, "a Tensor is needed, not a float"),
        ((losses, tg.Tensor(1.0)), ValueError, "does not require a gradient"),
        (([U * 2.0], U), ValueError, "is not a scalar"),
        (([], U), ValueError, "0 losses"),
        ((tg.Tensor(1.0), U), ValueError, "does not require a gradient"),
    ):
        with pytest.raises(error, match=said):
            tg.draw.terms(*wrong)
    with pytest.raises(ValueError, match="'interdb', 'wildml', 'state'"):
        tg.draw.terms(losses, U, notation="seed")
    with pytest.raises(ValueError, match=r"draw\.forward or draw\.backward"):
        tg.draw.terms(losses, U).render("html")


@pytest.mark.parametrize("losses", [5, None])
def test_losses_of_another_type_are_an_error_that_names_the_call(losses):
    with pytest.raises(TypeError, match="losses"):
        tg.draw.terms(losses, net(1)[0])
