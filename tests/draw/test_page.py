"""The story that the page tells; and in a real browser, without a window, what a lecturer sees and does."""

import json
import sys
from itertools import cycle

import numpy as np
import pytest
from stories import TOLD, backward_frames, equations, gradients_told

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order


@pytest.mark.parametrize("options", [{}, {"max_steps": 2}, {"max_steps": 3, "level": "primitives"}])
@pytest.mark.parametrize("net", TOLD)
def test_the_sums_told_are_the_gradients(unrolled, net, options):
    loss = unrolled(5, **net)
    parameters = [x for x in topological_order(loss) if x.is_leaf and x.requires_grad]
    grads = tg.grad(loss, parameters)
    story = tg.draw.backward(loss, **options).story()
    told = gradients_told(story)
    assert len(told) == len(parameters)
    for p, g in zip(parameters, grads, strict=True):
        prime = "′" * (p.name == "c" and net.get("kind") == "LSTM")
        name = (
            f"d{p.name}{prime}" if net.get("num_layers") is None or p.layer is None else f"d{p.name}{'₁₂'[p.layer - 1]}"
        )
        np.testing.assert_allclose(told[name], g.value, rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("net", TOLD)
def test_a_state_before_hidden_steps_gets_its_whole_gradient(unrolled, net):
    loss = unrolled(6, **net)
    h = next(x for x in topological_order(loss) if x.name == "h" and x.step == 1)
    story = tg.draw.forward(loss, max_steps=2).story()
    id = next(id for id, node in story.nodes.items() if node["plain"] in ("h⁽¹⁾", "h₁⁽¹⁾"))
    last = [total for frame, total in backward_frames(story) if frame["to"] == id][-1]
    np.testing.assert_allclose(last, tg.grad(loss, [h])[0].value, rtol=1e-8)


def test_values_come_in_the_order_of_execution_and_gradients_in_reverse(unrolled):
    loss = unrolled(3)
    story = tg.draw.forward(loss).story()
    plain = {id: node["plain"] for id, node in story.nodes.items()}
    made = [plain[frame["nodes"][0]] for frame in story.frames[1:] if frame["phase"] == "forward"]
    assert made == [f"{name}⁽{t}⁾" for t in "¹²³" for name in "ĥh"] + ["y", "L"]
    reached = [plain.get(frame["to"]) for frame in story.frames if frame["phase"] == "backward"]
    assert [name for name in reached if name in made] == made[::-1]


def test_a_rolled_graph_has_no_page(unrolled):
    with pytest.raises(ValueError, match="with every step"):
        tg.draw.forward(unrolled(3), rolled=True).render("html")


def test_an_output_that_is_no_single_number_says_so(unrolled):
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    story = tg.draw.forward(tg.label(tg.tanh(x * 3.0), "y")).story()
    assert "no single number" in story.frames[-1]["note"]
    assert not list(backward_frames(story))
    hs = [n for n in topological_order(unrolled(3)) if n.name == "h"]
    first = tg.draw.between(hs[-1], hs[1]).story().frames[0]
    assert "text" not in first  # nothing that is given is drawn


def test_one_hidden_step_is_no_sum_of_steps(unrolled):
    frames = tg.draw.forward(unrolled(3), max_steps=2).story().frames
    assert "Not drawn: step 2." in [frame.get("text") for frame in frames]
    notes = [frame["note"] for frame in frames if "step 2" in frame.get("note", "")]
    assert {"⋯ is what comes back through step 2.", "Added by step 2."} == set(notes)
    assert not any("⋯ + " in frame["equation"] for frame in frames if frame.get("note") == "Added by step 2.")


def test_hidden_steps_run_in_one_frame_and_go_back_in_one(unrolled):
    story = tg.draw.forward(unrolled(20), max_steps=4).story()
    texts = [frame["text"] for frame in story.frames if "text" in frame]
    assert texts[1:] == ["Not drawn: steps 3 to 18."]
    assert all("value" not in node for node in story.nodes.values() if node["name"] == "⋯")
    told = equations(story)
    assert "dh⁽¹⁸⁾ = ᵗU dĥ⁽¹⁹⁾" in told and "dW ← dW + dW⁽¹⁸⁾ + ⋯ + dW⁽³⁾" in told and "dh⁽²⁾ = ⋯" in told


def test_the_page_starts_from_plain_figures(unrolled):
    loss = unrolled(3)
    W = next(x for x in topological_order(loss) if x.name == "W")
    plainly = tg.draw.forward(loss).story()
    for options in ({"color_by": "gradient"}, {"highlight": (W, 2)}, {"values": True, "shapes": True}):
        story = tg.draw.backward(loss, **options).story()
        for figure, other in zip(story.figures.values(), plainly.figures.values(), strict=True):
            looks = [[(n.id, n.fill, n.note, n.faint) for n in f.nodes] for f in (figure, other)]
            assert looks[0] == looks[1] and figure.scale is None and figure.caption == other.caption
            assert not any(edge.bold or edge.faint for edge in figure.edges)


def test_at_the_end_of_a_phase_the_whole_figure_is_there(unrolled):
    """Nothing is left pale, but for what needs no gradient."""
    story = tg.draw.backward(unrolled(3, many=True), max_steps=2).story()
    moments = dict(zip((frame["phase"] for frame in story.frames), story.moments(), strict=True))
    for phase, whole in story.figures.items():
        assert [part.faint for part in moments[phase].nodes] == [part.faint for part in whole.nodes]
        assert not any(edge.faint for edge in moments[phase].edges)


# In the browser


def net(kind=tg.nn.RNN, steps=3, layers=1):
    rng = np.random.default_rng(0)
    rnn, readout = kind(2, 2, layers, rng=rng), tg.nn.Linear(2, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((steps, 2)))
    return rnn, readout, tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file with the page of that net, which most tests open."""
    return tg.draw.backward(net()[2]).save(tmp_path_factory.mktemp("saved") / "page.html")


def frames(page):
    return int(page.get_attribute("#slider", "max"))


def sums(page):
    """The gradients of the parameters as the page has them, by name."""
    rows = page.locator("#sums tr").evaluate_all("rows => rows.map(row => [row.dataset.sum, row.dataset.values])")
    return {name: np.array(json.loads(values)) for name, values in rows if values}


def test_at_the_end_the_running_sums_are_the_gradients(opened, saved):
    rnn, readout, loss = net()
    loss.backward()
    page = opened(saved)

    def by_keyboard():
        for _ in range(frames(page)):
            page.keyboard.press("ArrowRight")

    ways = by_keyboard, lambda: page.locator("#slider").fill(str(frames(page))), lambda: page.click("#last")
    for go_to_the_end in ways:
        page.keyboard.press("Home")
        assert sums(page) == {}
        go_to_the_end()
        assert page.inner_text("#count") == f"{frames(page)} / {frames(page)}"
        found = sums(page)
        for p in (*rnn.parameters(), *readout.parameters()):
            np.testing.assert_allclose(found[f"d{p.name}"], p.grad.ravel(), rtol=1e-6)


@pytest.mark.parametrize("kind, layers", [(tg.nn.LSTM, 1), (tg.nn.GRU, 1), (tg.nn.RNN, 2)])
def test_so_they_are_for_gated_and_stacked_nets(opened, kind, layers):
    rnn, _, loss = net(kind, 2, layers)
    page = opened(tg.draw.forward(loss), "#step=9999")
    loss.backward()
    found = sums(page)
    subscripts = {1: "₁", 2: "₂"} if layers > 1 else {}
    for p in rnn.parameters():
        np.testing.assert_allclose(found[f"d{p.name}{subscripts.get(p.layer, '')}"], p.grad.ravel(), rtol=1e-6)


def test_forward_then_backward_a_sum_grows_by_one_term_a_step(opened, saved):
    page = opened(saved)
    assert page.is_visible("#forward") and not page.is_visible("#backward")
    terms = page.evaluate(
        """() => frames.map((frame, i) => {
            go(i);
            return document.querySelector("#sums tr[data-sum=dU] td:nth-child(2)").textContent;
        })"""
    )
    assert page.is_visible("#backward") and not page.is_visible("#forward")
    assert list(dict.fromkeys(terms)) == ["0 of 3", "1 of 3", "2 of 3", "3 of 3"]


def test_the_panel_says_the_equation_and_its_numbers(opened, saved):
    rnn, _, _ = net()
    page = opened(saved, "#step=1")
    assert page.inner_text("#equation") == "ĥ(1) = W x(1) + U h(0) + b"
    assert f"{rnn.cells[0].W.data[0, 0]:.3g}".replace("-", "−") in page.inner_text("#numbers")
    assert (
        page.inner_text("#value-caption") == "value, shape (2,)"
        and page.inner_text("#gradient-caption") == "gradient: –"
    )
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#equation") == "h(1) = f(ĥ(1))"


def test_a_link_restores_a_state_and_the_address_follows(opened, saved):
    page = opened(saved, "#step=4")
    assert page.inner_text("#count").startswith("4 /")
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("#step=5")
    page.evaluate("location.hash = '#step=2'")
    page.wait_for_function("step === 2")
    assert page.inner_text("#count") == f"2 / {frames(page)}"
    for wrong in ("#step=-3", "#step=x", "#step=1e9", "#pin=nothing"):
        page.evaluate(f"location.hash = '{wrong}'")
        page.wait_for_timeout(20)
        assert 0 <= int(page.inner_text("#count").split(" / ")[0]) <= frames(page)


def test_play_pause_first_back_and_home(opened, saved):
    page = opened(saved)
    page.select_option("#speed", "60")
    page.keyboard.press("Space")
    while int(page.input_value("#slider")) < 3:
        page.wait_for_timeout(20)
    page.keyboard.press("Space")
    stopped = page.inner_text("#count")
    page.wait_for_timeout(130)  # of two frames
    assert page.inner_text("#count") == stopped and "play" in page.inner_text("#play")
    page.click("#back")
    assert int(page.inner_text("#count").split()[0]) == int(stopped.split()[0]) - 1
    page.keyboard.press("End")
    page.keyboard.press("Home")
    assert page.inner_text("#count").startswith("0 /")


def test_a_click_pins_a_node(opened, saved):
    page = opened(saved, "#step=3")
    page.locator("#forward g.node").filter(has_text="L").first.click()
    assert page.inner_text("#name") == "L" and page.is_visible("#pinned")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#name") == "L"
    page.keyboard.press("Escape")
    assert page.inner_text("#name") != "L" and not page.is_visible("#pinned")


def test_colours_by_value_and_by_gradient(opened, saved):
    page = opened(saved, "#step=9999")
    fills = "() => new Set([...document.querySelectorAll('#backward g.node ellipse')].map(e => e.style.fill)).size"
    before = page.evaluate(fills)
    page.select_option("#colour", "gradient")
    assert page.evaluate(fills) > before == 1


def test_names_stay_text(opened):
    scripts = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</script>"
    hostile = *scripts, "\"'`", "\\N\nline", "🎓", 300 * "x"
    y = tg.Tensor(2.0, requires_grad=True, name=hostile[0])
    for name in hostile:
        y = tg.label(tg.label(y * y, name) * 0.5, name)
    page = opened(tg.draw.backward(y))
    page.evaluate("frames.forEach((frame, i) => go(i))")
    assert page.locator("#panel script, #panel img, #figure script, #figure img").count() == 0
    assert page.locator("body > *").count() == 3


def test_on_a_phone_and_in_the_dark(opened, saved):
    page = opened(saved, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


PHASES = "forward", "backward"
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1366, "height": 768}
EVERY_FRAME = """() => frames.map((frame, i) => {
    go(i);
    const inside = (box, element) => {
        const outer = box.getBoundingClientRect(), it = element.getBoundingClientRect();
        return it.left >= outer.left && it.top >= outer.top && it.right <= outer.left + box.clientWidth + 2
            && it.bottom <= outer.top + box.clientHeight + 2;
    };
    const row = document.querySelector("#sums tr.now > th");
    const node = figures[frame.phase].get(frame.to || frame.nodes[0]);
    return [document.querySelector("nav").getBoundingClientRect().top, inside(at("figure"), node),
        row === null || inside(at("growing"), row)];
})"""


@pytest.mark.parametrize("kind, steps, viewports", [(tg.nn.RNN, 4, [PHONE]), (tg.nn.LSTM, 2, [PHONE, LAPTOP])])
def test_the_controls_stay_and_the_current_node_is_seen_in_every_frame(opened, kind, steps, viewports):
    page = opened(tg.draw.backward(net(kind, steps)[2]))
    for viewport in viewports:
        page.set_viewport_size(viewport)
        tops, current, growing = zip(*page.evaluate(EVERY_FRAME), strict=True)
        assert len(tops) == frames(page) + 1 and len(set(tops)) == 1
        assert all(current) and all(growing)


def test_the_controls_of_a_small_graph_stay_on_a_phone(opened):
    x = tg.Tensor(2.0, requires_grad=True, name="x")
    page = opened(tg.draw.forward(tg.label(x**3 - 2.0 * x, "y")), viewport=PHONE)
    assert len({top for top, *_ in page.evaluate(EVERY_FRAME)}) == 1


def test_the_figure_fits_from_the_start_and_can_be_read_if_that_is_wanted(opened):
    page = opened(tg.draw.backward(net(steps=10)[2]), viewport=PHONE)
    scale = (
        "() => { const s = document.querySelector('#forward svg'); return s.clientWidth / s.viewBox.baseVal.width; }"
    )
    inside = "() => { const f = document.getElementById('figure'); return f.scrollWidth <= f.clientWidth; }"
    assert page.evaluate(inside) and page.evaluate(scale) < 0.5
    page.focus("#fit")
    page.keyboard.press("Space")
    assert page.evaluate(scale) >= 0.89 and not page.evaluate(inside) and page.input_value("#slider") == "0"
    page.keyboard.press("Space")
    assert page.evaluate(inside)


def shown(page, selector):
    """The matrices that are written in a line, as arrays."""
    tables = page.locator(f"{selector} .matrix").evaluate_all(
        "tables => tables.map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))"
    )
    return [np.array([[number(x) for x in row] for row in table]) for table in tables]


def number(text):
    digits, _, power = text.replace("−", "-").partition("×10")
    return float(digits) * 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)


def go_to(page, equation):
    """Step on to the frame that says an equation."""
    step = "equation => { while (at('equation').innerText !== equation && step < frames.length - 1) go(step + 1); }"
    page.evaluate(step, equation)
    assert page.inner_text("#equation") == equation


def test_numbers_stand_below_the_equations_and_are_right(opened, saved):
    page = opened(saved)
    go_to(page, "ĥ(2) = W x(2) + U h(1) + b")
    W, x, U, h, b, result = shown(page, "#numbers")
    np.testing.assert_allclose(W @ x + U @ h + b, result, atol=0.02)
    go_to(page, "dĥ(3) = f′(ĥ(3)) ⊙ dh(3)")
    slope, dh, result = shown(page, "#numbers")
    np.testing.assert_allclose(dh * slope, result, rtol=0.02)
    go_to(page, "dh(2) = tU dĥ(3)")
    turned, g, result = shown(page, "#numbers")
    np.testing.assert_allclose(turned, U.T)
    np.testing.assert_allclose(turned @ g, result, atol=0.02)
    go_to(page, "dU ← dU + dU(2)")
    before, term, after = shown(page, "#numbers")
    np.testing.assert_allclose(before + term, after, rtol=0.02)
    assert page.locator("#sums tr.now").get_attribute("data-sum") == "dU"


def test_the_map_of_a_sum_is_filled_when_it_is_largest(opened, saved):
    page = opened(saved, "#step=9999")
    deepest = """() => sums.map((sum, i) => {
        const canvas = at("sums").children[i].querySelector("canvas");
        const most = (frame) => Math.max(...frame.total.values.map(Math.abs));
        const own = frames.filter((frame) => frame.to === sum.id);
        go(frames.indexOf(own.reduce((a, b) => (most(b) > most(a) ? b : a))));
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return [Math.min(...pixels.filter((_, i) => i % 4 !== 3)), canvas.width];
    })"""
    for least, width in page.evaluate(deepest):
        assert least == 0 and width >= 16


def test_no_sums_no_table(opened):
    x = tg.Tensor(2.0, requires_grad=True, name="x")
    z = tg.label(x * 2.0, "z")
    y = tg.label(tg.tanh(z), "y")
    assert opened(tg.draw.between(y, x)).is_visible("#growing")
    assert not opened(tg.draw.between(y, z)).is_visible("#growing")


def test_a_pin_that_is_no_node_is_none(opened, saved):
    page = opened(saved)
    for id in ("__proto__", "toString", "n999", "legend"):
        page.evaluate(f"location.hash = '#step=4&pin={id}'; restore()")
        assert not page.is_visible("#pinned") and page.inner_text("#count").startswith("4 /")


def test_a_node_is_pinned_by_keyboard(opened, saved):
    page = opened(saved, "#step=3")
    assert page.locator("#forward [tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert "ĥ⁽²⁾" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    assert page.is_visible("#pinned") and page.inner_text("#name") == "ĥ(2)"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.is_visible("#pinned") and page.inner_text("#name") != "ĥ(2)"
    assert page.get_attribute("#play", "aria-label") == "play"


def test_the_pinned_node_is_marked(opened, saved):
    page = opened(saved, "#step=9999&pin=total0")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        stroke = "getComputedStyle(document.querySelector('#backward g.pin > polygon')).stroke"
        assert page.evaluate(stroke) == "rgb(91, 141, 239)"


def test_a_sum_is_pinned_and_a_pinned_node_says_both_equations(opened, saved):
    page = opened(saved, "#step=9999")
    page.locator("#backward g.node[data-id=sum1]").click()
    assert page.inner_text("#equation") == "dU ← dU + dU(1)" and "pin=total1" in page.url
    page.evaluate("location.hash = '#step=9999&pin=' + Object.keys(nodes).find(id => nodes[id].plain === 'h⁽²⁾')")
    page.wait_for_function("at('equation').innerText === 'h(2) = f(ĥ(2))'")
    assert page.inner_text("#back-equation") == "dh(2) = tU dĥ(3)"
    page.keyboard.press("Home")
    assert page.inner_text("#value-caption") == "value: –" and page.inner_text("#gradient-caption") == "gradient: –"


def test_arrows_step_after_a_select_was_used(opened, saved):
    page = opened(saved)
    page.focus("#speed")
    speed = page.input_value("#speed")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#count").startswith("1 /") and page.input_value("#speed") == speed


def test_one_live_region_says_each_step_once_and_nothing_while_playing(opened, saved):
    page = opened(saved)
    assert page.locator("[aria-live], output").count() == 1
    page.keyboard.press("ArrowRight")
    said = page.text_content("#said")
    assert said.startswith("Moment 1 of") and "ĥ(1) = W x(1)" in said
    page.select_option("#speed", "60")
    page.click("#play")
    while int(page.input_value("#slider")) < 3:
        page.wait_for_timeout(20)
    assert page.text_content("#said") == said
    page.click("#play")
    assert page.text_content("#said") != said


def fills(page, figure):
    nodes = page.locator(f"#{figure} g.choice").evaluate_all(
        "groups => groups.map(g => [g.dataset.id, getComputedStyle(g.querySelector('ellipse, polygon')).fill])"
    )
    return dict(nodes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_scale_for_all_frames_with_a_legend_and_zeros_white(opened, saved, scheme):
    page = opened(saved, "#step=9999&colour=gradient", color_scheme=scheme)
    assert page.input_value("#colour") == "gradient" and "white: 0 or none" in page.inner_text("#scale")
    last, white, legend = fills(page, "backward"), "rgb(255, 255, 255)", page.inner_text("#scale")
    zero = page.evaluate("Object.keys(nodes).find(id => nodes[id].plain === 'h⁽⁰⁾')")
    scale = set(page.locator("#scale i").evaluate_all("all => all.map(i => getComputedStyle(i).backgroundColor)"))
    coloured = {fill for id, fill in last.items() if not id.startswith("sum")}
    assert last[zero] == white and coloured <= scale | {white} and len(coloured) > 3
    page.keyboard.press("ArrowLeft")
    before = fills(page, "backward")
    reached = page.evaluate("[...gradientsAfter(step).keys()].filter(id => !id.startsWith('total'))")
    assert all(before[id] == last[id] for id in reached) and page.inner_text("#scale") == legend
    assert page.evaluate("getComputedStyle(document.querySelector('#backward svg')).filter") == "none"


def test_hidden_steps_are_pale_until_they_run(opened):
    page = opened(tg.draw.forward(net(steps=20)[2], max_steps=4))
    assert "later" in page.get_attribute("#forward g.node[data-id=dots0]", "class")
    go_to(page, "Not drawn: steps 3 to 18.")
    assert "later" not in page.get_attribute("#forward g.node[data-id=dots0]", "class")
    assert page.inner_text("#value") == "" and "one for steps 3 to 18" in page.text_content("#terms")


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM])
def test_one_file_of_less_than_400_kilobytes(tmp_path, kind):
    rnn, readout = kind(4, 8, rng=0), tg.nn.Linear(8, 1, rng=0)
    hs, _ = rnn(np.random.default_rng(0).standard_normal((10, 4)))
    path = tg.draw.forward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))).save(tmp_path / "page.html")
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("options", [{}, {"level": "primitives"}, {"values": True}])
def test_the_labels_of_an_svg_stand_in_their_nodes(opened, tmp_path, options):
    """In the fonts that this browser has."""
    page = opened(tg.draw.backward(net(tg.nn.LSTM, 2)[2], **options).save(tmp_path / "figure.svg"))
    found = page.locator("g.node").evaluate_all(
        """groups => groups.flatMap(g => {
            const shape = g.querySelector("ellipse, polygon");
            const box = shape && shape.getBBox();
            return !box ? [] : [...g.querySelectorAll("text")].map(text => {
                const label = text.getBBox();
                return [g.id, label.x - box.x, box.x + box.width - label.x - label.width];
            });
        })"""
    )
    assert len(found) > 20
    for id, left, right in found:
        assert min(left, right) > 0 and abs(left - right) < 6, id


def pinned(page, name):
    """Pin a node by its plain name, so that its numbers are in the panel."""
    page.evaluate("name => { pinned = null; pin(Object.keys(nodes).find(id => nodes[id].plain === name)); }", name)


def test_an_element_is_typed_moved_by_arrows_and_dragged(opened, saved):
    rnn, _, _ = net()
    page = opened(saved, "#step=9999")
    pinned(page, "U")
    cell = page.locator("#editor input").nth(1)
    start, before = rnn.cells[0].U.data[0, 1], sums(page)["dW"]
    assert float(cell.input_value()) == pytest.approx(start, abs=1e-2)
    cell.fill("0.75")
    assert page.evaluate("bptt.value('U')[0][1]") == 0.75 and page.locator("#editor input.changed").count() == 1
    assert not np.allclose(sums(page)["dW"], before)
    cell.press("ArrowUp")
    assert page.evaluate("bptt.value('U')[0][1]") == pytest.approx(0.8)
    cell.press("Shift+ArrowDown")
    assert page.evaluate("bptt.value('U')[0][1]") == pytest.approx(0.3)
    box = cell.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] - 45, steps=5)
    page.mouse.up()
    assert page.evaluate("bptt.value('U')[0][1]") == pytest.approx(1.3)
    page.locator("#editor input").nth(2).fill("3")
    cell.dblclick()
    assert page.evaluate("bptt.value('U')[0][1]") == start and page.evaluate("bptt.value('U')[1][0]") == 3
    page.click("#reset-one")
    assert page.evaluate("bptt.value('U')[1][0]") == rnn.cells[0].U.data[1, 0]
    np.testing.assert_array_equal(sums(page)["dW"], before)


def test_all_that_is_given_can_be_changed_and_nothing_else(opened, saved):
    page = opened(saved, "#step=9999")
    loss = page.inner_text("#loss")
    for name in ["x⁽²⁾", "Y", "h⁽⁰⁾", "W", "b"]:
        pinned(page, name)
        page.locator("#editor input").first.fill("2")
        page.keyboard.press("Enter")
        assert page.inner_text("#loss") != loss, name
        page.click("#reset")
        assert page.inner_text("#loss") == loss, name
    pinned(page, "ĥ⁽¹⁾")
    assert not page.is_visible("#editor")


def test_a_slider_scales_all_matrices_of_a_letter(opened):
    rnn, _, _ = net(tg.nn.LSTM)
    page = opened(tg.draw.backward(net(tg.nn.LSTM)[2]))
    said = page.locator("#scales label[data-letter=U] span")
    page.locator("#scales label[data-letter=U] input").fill("1")
    cell = rnn.cells[0]
    U = [cell.U_i, cell.U_f, cell.U_g, cell.U_o]
    np.testing.assert_allclose(page.evaluate("bptt.value('U_f')"), 2 * cell.U_f.data)
    largest = max(np.linalg.norm(2 * p.data, 2) for p in U)
    assert said.inner_text().startswith("× 2, σ max ")
    assert float(said.inner_text().split()[-1]) == pytest.approx(largest, rel=1e-3)
    page.wait_for_timeout(300)
    assert "scale=U:2" in page.url
    first = page.locator("#scales label").first
    assert first.get_attribute("data-letter") == "U"  # what carries the state on comes first


def curve(page, kind):
    """The norms of a curve over time, as the plot has them."""
    return dict(page.evaluate("kind => curves(net).find(curve => curve.kind === kind).points", kind))


def test_the_curves_are_norms_over_time_and_their_bound(opened):
    rnn, _, loss = net(steps=5)
    hs = [x for x in tg.backward.topological_order(loss) if x.name == "h" and x.step]
    page = opened(tg.draw.backward(loss))
    gradients = tg.grad(loss, hs)
    for kind, expected in (("value", hs), ("gradient", gradients)):
        found = curve(page, kind)
        for t, x in enumerate(expected, 1):
            assert found[t] == pytest.approx(np.linalg.norm(x.value), rel=1e-9)
    terms = tg.bptt.contributions(loss, rnn.cells[0].U)
    assert list(curve(page, "term").values()) == pytest.approx([np.linalg.norm(term) for term in terms], rel=1e-9)
    bound = curve(page, "bound")
    last = np.linalg.norm(gradients[-1].value)
    for t in range(1, 6):
        assert bound[t] == pytest.approx(last * tg.bptt.norm_bound(rnn.cells[0].U, "tanh", 5 - t), rel=1e-6)
        assert bound[t] >= curve(page, "gradient")[t] * (1 - 1e-9)
    page.locator("#scales label[data-letter=U] input").fill("-1")
    assert curve(page, "gradient")[1] < np.linalg.norm(gradients[0].value) / 4  # it vanishes


def test_a_drag_is_answered_in_under_50_ms(opened):
    rnn, readout = tg.nn.LSTM(4, 8, rng=0), tg.nn.Linear(8, 1, rng=0)
    hs, _ = rnn(np.random.default_rng(0).standard_normal((10, 4)))
    page = opened(tg.draw.backward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))), "#step=300&pin=n2")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # others may be at work on the machine

    def busy():
        return {x["name"]: x["value"] for x in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    before = busy()
    page.evaluate(
        """async () => {
            for (let i = 0; i < 25; i++) {
                at("editor").children[0].value = 0.01 * i;
                at("editor").children[0].dispatchEvent(new Event("input"));
                await new Promise(requestAnimationFrame);
            }
        }"""
    )
    assert 0 < (busy() - before) / 25 < 0.05
    session.detach()


def test_the_address_keeps_the_changed_numbers(opened):
    diagram = tg.draw.backward(net()[2])
    page = opened(diagram, "#step=12&colour=gradient&scale=U:1.5&set=0.n0.1:0.25&fit=1.2")
    assert page.evaluate("bptt.value('W')[0][1]") == 0.25 and not page.is_checked("#fit")
    loss = page.inner_text("#loss")
    page.wait_for_timeout(250)
    again = opened(diagram, page.evaluate("location.hash"))
    assert again.inner_text("#loss") == loss and again.evaluate("zoom") == 1.2
    assert again.input_value("#colour") == "gradient"
    for wrong in ("set=0.n0.99:1", "set=7.n0.0:1", "set=0.__proto__.0:1", "scale=U:-1", "scale=U:x", "set=n0", "net=9"):
        page.evaluate(f"location.hash = '#{wrong}'")
        page.wait_for_timeout(20)
        assert page.is_visible("#figure")


def test_factors_of_the_equation_and_the_edges_light_up_together(opened, saved):
    page = opened(saved)
    go_to(page, "dh(2) = tU dĥ(3)")
    edge = page.evaluate("frames[step].edge")
    lit = "[...figures.backward].filter(([, g]) => g.matches('.lit')).map(([id]) => id)"
    factors = page.locator("#equation .factor")
    factors.nth(0).hover()
    assert page.evaluate(lit) == [edge]
    factors.nth(1).focus()
    assert page.evaluate("frames[step].from") in page.evaluate(lit)
    page.evaluate("id => figures.backward.get(id).focus()", edge)
    assert factors.nth(0).get_attribute("class") == "factor lit" and factors.nth(1).get_attribute("class") == "factor"
    page.evaluate("bptt.step(1)")
    page.locator("#equation .factor").filter(has_text="U").hover()
    nodes = page.evaluate("[...figures.forward].filter(([, g]) => g.matches('.lit')).map(([id]) => id)")
    assert len(nodes) == 2 and nodes[1 if "->" in nodes[1] else 0].split("->")[0] in nodes


def test_an_edge_has_a_title_and_is_pinned(opened, saved):
    page = opened(saved, "#step=9999")
    assert page.locator("#backward g.way").count() == page.locator("#backward g.way > title").count() > 20
    edge = page.evaluate("frames.find(f => text(f.equation ?? '') === 'dh(2) = tU dĥ(3)').edge")
    page.evaluate("id => figures.backward.get(id).dispatchEvent(new Event('click'))", edge)
    assert page.inner_text("#equation") == "dh(2) = tU dĥ(3)" and page.is_visible("#pinned") and "pin=" in page.url
    page.keyboard.press("Home")
    assert page.inner_text("#equation") == "dh(2) = tU dĥ(3)" or page.is_visible("#pinned")
    page.keyboard.press("Escape")
    assert not page.is_visible("#pinned")


def test_both_figures_side_by_side_and_laid_over_each_other(opened, saved):
    page = opened(saved, "#step=20")
    page.select_option("#view", "beside")
    forward, backward = (page.locator(f"#{phase} svg").bounding_box() for phase in PHASES)
    assert forward["x"] + forward["width"] <= backward["x"] + 1 and forward["y"] == backward["y"]
    page.select_option("#view", "over")
    forward, backward = (page.locator(f"#{phase} svg").bounding_box() for phase in PHASES)
    assert forward == backward
    words = "all => all.map(text => [text.textContent, text.getBoundingClientRect().x])"
    legends = [page.locator(f"#{phase} g[data-id^=legend] text").evaluate_all(words) for phase in PHASES]
    assert legends[0] == legends[1] and len(legends[0]) > 5
    page.locator("#mix").fill("100")
    assert page.evaluate("[at('forward'), at('backward')].map(box => getComputedStyle(box).opacity)") == ["0", "1"]


def test_the_panel_says_which_term_of_which_sum_is_added_and_from_which_loss(opened):
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 2, rng=rng), tg.nn.Linear(2, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((3, 2)))
    losses = [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in hs]
    page = opened(tg.draw.backward(tg.label(losses[0] + losses[1] + losses[2], "E")))
    go_to(page, "dU ← dU + dU(2)")
    assert page.inner_text("#phase") == "backward: term 2 of 3 of dU, from L⁽²⁾, L⁽³⁾"


@pytest.mark.parametrize("hash", ["#step=16", "#embed&step=16"])
def test_the_whole_figure_and_the_equation_are_seen(opened, saved, hash):
    page, schemes = opened(saved, hash), cycle(["light", "dark"])
    for width, height in ((1920, 1080), (1280, 800), (390, 844), (960, 540)):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=next(schemes))
        page.evaluate("new Promise(requestAnimationFrame)")  # in which the page is told of its size
        for element in ("#backward svg", "#equation", "nav"):
            box = page.locator(element).bounding_box()
            assert min(box["x"], box["y"]) >= 0
            assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
        figure, svg = page.locator("#figure").bounding_box(), page.locator("#backward svg").bounding_box()
        assert svg["height"] <= figure["height"] and svg["width"] <= figure["width"]
        assert page.is_visible("#live") == page.is_visible("#growing") == (not hash.startswith("#embed"))


def test_the_figure_is_zoomed_and_dragged(opened):
    page = opened(tg.draw.backward(net(tg.nn.LSTM, 6)[2]), viewport={"width": 1280, "height": 800})
    width = "document.querySelector('#forward svg').clientWidth"
    before = page.evaluate(width)
    for _ in range(6):
        page.click("#closer")
    assert page.evaluate(width) > 3 * before and "fit=" in page.url
    page.evaluate("at('figure').scrollLeft = 300")
    page.mouse.move(600, 150)
    page.mouse.down()
    page.mouse.move(500, 140, steps=4)
    page.mouse.up()
    assert page.evaluate("at('figure').scrollLeft") == pytest.approx(400, abs=2) and not page.is_visible("#pinned")
    page.mouse.move(600, 150)
    page.keyboard.down("Control")
    page.mouse.wheel(0, 400)
    page.keyboard.up("Control")
    page.keyboard.press("0")
    assert page.evaluate(width) == before and page.is_checked("#fit")


def test_on_paper_there_is_the_figure_with_its_scale_and_the_equation(opened, saved):
    page = opened(saved, "#step=16&colour=gradient", viewport={"width": 760, "height": 1000})
    page.emulate_media(media="print")
    seen = {"#backward svg": True, "#equation": True, "#scale": True, "#play": False, "#live": False, "#growing": False}
    assert {element: page.is_visible(element) for element in seen} == seen
    svg = page.locator("#backward svg").bounding_box()
    assert svg["x"] >= 0 and svg["x"] + svg["width"] <= 760


@pytest.mark.parametrize("hash", ["#step=3&pin=n0", "#step=20&colour=gradient", "#embed&step=16", "#step=20&view=over"])
def test_axe_finds_nothing(opened, saved, hash):
    """Where the page is dark, only its colours are others."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(saved, hash)
    for scheme, options in {"light": {}, "dark": {"runOnly": ["color-contrast"]}}.items():
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page, options={"resultTypes": ["violations"], **options})
        assert found.violations_count == 0, found.generate_report()


def test_several_nets_stand_behind_tabs_with_one_slider_and_one_scale(opened, tmp_path):
    path = tg.draw.page({"tanh": net()[2], "<b>LSTM": net(tg.nn.LSTM)[2]}, tmp_path / "compare.html")
    page = opened(path, "#step=5")
    first, second = page.locator("#tabs button").all()
    assert second.inner_text() == "<b>LSTM" and page.inner_text("#equation") == "ĥ(3) = W x(3) + U h(2) + b"
    page.locator("#scales label[data-letter=U] input").fill("1")
    assert "<b>LSTM: ‖dh(t)‖" in page.inner_text("#key")
    second.click()
    assert page.inner_text("#count").startswith("5 /") and page.inner_text("#equation").startswith("ĝ(1) = W")
    assert page.inner_text("#scales label[data-letter=U] span").startswith("× 2")
    page.keyboard.press("ArrowRight")  # on a tab, to the other one
    assert page.inner_text("#equation") == "ĥ(3) = W x(3) + U h(2) + b"
    assert first.get_attribute("aria-selected") == "true"


def test_a_page_of_nothing_or_to_another_format_is_refused(tmp_path):
    for outputs, name in (({}, "x.html"), ({"net": net()[2]}, "x.svg")):
        with pytest.raises(ValueError, match="outputs by their titles, and an .html"):
            tg.draw.page(outputs, tmp_path / name)
    with pytest.raises(TypeError, match="a dict of outputs by their titles is needed, not a Tensor"):
        tg.draw.page(net()[2], tmp_path / "x.html")


def test_a_notebook_shows_the_page_inline(opened, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(tg.draw.backward(net()[2]).page()._repr_html_(), encoding="utf-8")
    frame = opened(path).frame_locator("iframe")
    frame.locator("#on").click()
    assert frame.locator("#equation").inner_text() == "ĥ(1) = W x(1) + U h(0) + b"


def test_no_script_runs_but_the_page_s_own(tab, tmp_path):
    source = tg.draw.backward(net()[2]).page().source
    assert source.count("'unsafe-inline'") == 1 and "style-src 'unsafe-inline'; script-src 'sha256-" in source
    path = tmp_path / "page.html"
    path.write_text(source.replace("</main>", "<script>window.ran = true</script></main>"), encoding="utf-8")
    tab.goto(f"file://{path}")
    tab.evaluate("at('note').innerHTML = '<img src=x onerror=\"window.ran = true\">'")
    tab.wait_for_timeout(50)
    assert tab.evaluate("[window.ran, bptt.step(3)]") == [None, 3]


def test_without_a_layout_engine_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(tg.DrawingError, match="pip install pygraphviz"):
        tg.draw.backward(net()[2]).save(tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_a_lecture_on_vanishing_gradients(opened, tmp_path):
    """Forward, backward, one term of dU; then U is scaled from a half to two, with tanh and with an LSTM beside it."""
    nets = {"tanh": net(steps=6), "LSTM": net(tg.nn.LSTM, 6)}
    page = opened(tg.draw.page({title: loss for title, (*_, loss) in nets.items()}, tmp_path / "lecture.html"))
    go_to(page, "L = ½ Σ (y − Y)2")
    go_to(page, "dU(3) = dĥ(3) th(2)")
    dh, h, term = shown(page, "#numbers")
    np.testing.assert_allclose(dh @ h, term, rtol=0.02)
    page.locator("#scales label[data-letter=U] input").focus()
    for power in (-1, 0, 1):
        page.locator("#scales label[data-letter=U] input").fill(str(power))
        for i, (rnn, _, _) in enumerate(nets.values()):
            page.locator("#tabs button").nth(i).click()
            assert page.evaluate("check()") < 1e-6
            U = page.evaluate("Object.fromEntries(sums.map(sum => [sum.plain.slice(1), bptt.value(sum.id)]))")
            for p in rnn.parameters():
                np.testing.assert_allclose(U[p.name], p.data * (2.0**power if p.name[0] == "U" else 1.0))
    page.click("#reset")
    assert "scale" not in page.url
