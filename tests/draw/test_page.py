"""The page, in a real browser without a window: what a lecturer sees and does."""

import json

import numpy as np
import pytest

import tinygrad_rnn as tg

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def net(kind=tg.nn.RNN, steps=3, layers=1):
    rng = np.random.default_rng(0)
    rnn, readout = kind(2, 2, layers, rng=rng), tg.nn.Linear(2, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((steps, 2)))
    return rnn, readout, tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))


def frames(page):
    return int(page.get_attribute("#slider", "max"))


def sums(page):
    """The gradients of the parameters as the page has them, by name."""
    rows = page.locator("#sums tr").evaluate_all("rows => rows.map(row => [row.dataset.sum, row.dataset.values])")
    return {name: np.array(json.loads(values)) for name, values in rows if values}


@pytest.mark.parametrize("way", ["keyboard", "slider", "button"])
def test_at_the_end_the_running_sums_are_the_gradients(opened, way):
    rnn, readout, loss = net()
    page = opened(tg.draw.backward(loss))
    assert sums(page) == {}
    if way == "keyboard":
        for _ in range(frames(page)):
            page.keyboard.press("ArrowRight")
    elif way == "slider":
        page.locator("#slider").fill(str(frames(page)))
    else:
        page.click("#last")
    assert page.inner_text("#count") == f"{frames(page)} / {frames(page)}"
    loss.backward()
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


def test_forward_then_backward_a_sum_grows_by_one_term_a_step(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss))
    assert page.is_visible("#forward") and not page.is_visible("#backward")
    terms = []
    for _ in range(frames(page)):
        page.keyboard.press("ArrowRight")
        terms.append(page.inner_text("#sums tr[data-sum=dU] td:nth-child(2)"))
    assert page.is_visible("#backward") and not page.is_visible("#forward")
    assert list(dict.fromkeys(terms)) == ["0 of 3", "1 of 3", "2 of 3", "3 of 3"]


def test_the_panel_says_the_equation_and_its_numbers(opened):
    rnn, _, loss = net()
    page = opened(tg.draw.forward(loss), "#step=1")
    assert page.inner_text("#equation") == "ĥ(1) = W x(1) + U h(0) + b"
    assert f"{rnn.cells[0].W.data[0, 0]:.3g}".replace("-", "−") in page.inner_text("#numbers")
    assert (
        page.inner_text("#value-caption") == "value, shape (2,)"
        and page.inner_text("#gradient-caption") == "gradient: –"
    )
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#equation") == "h(1) = f(ĥ(1))"


def test_a_link_restores_a_state_and_the_address_follows(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss), "#step=4")
    assert page.inner_text("#count").startswith("4 /")
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("#step=5")
    page.evaluate("location.hash = '#step=2'")
    playwright.expect(page.locator("#count")).to_have_text(f"2 / {frames(page)}")
    for wrong in ("#step=-3", "#step=x", "#step=1e9", "#pin=nothing"):
        page.evaluate(f"location.hash = '{wrong}'")
        page.wait_for_timeout(20)
        assert 0 <= int(page.inner_text("#count").split(" / ")[0]) <= frames(page)


def test_play_pause_first_back_and_home(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss))
    page.select_option("#speed", "60")
    page.keyboard.press("Space")
    while int(page.input_value("#slider")) < 3:
        page.wait_for_timeout(20)
    page.keyboard.press("Space")
    stopped = page.inner_text("#count")
    page.wait_for_timeout(200)
    assert page.inner_text("#count") == stopped and "play" in page.inner_text("#play")
    page.click("#back")
    assert int(page.inner_text("#count").split()[0]) == int(stopped.split()[0]) - 1
    page.keyboard.press("End")
    page.keyboard.press("Home")
    assert page.inner_text("#count").startswith("0 /")


def test_a_click_pins_a_node(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss), "#step=3")
    page.locator("#forward g.node").filter(has_text="L").first.click()
    assert page.inner_text("#name") == "L" and page.is_visible("#pinned")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#name") == "L"
    page.keyboard.press("Escape")
    assert page.inner_text("#name") != "L" and not page.is_visible("#pinned")


def test_colours_by_value_and_by_gradient(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss), "#step=9999")
    fills = "() => new Set([...document.querySelectorAll('#backward g.node ellipse')].map(e => e.style.fill)).size"
    before = page.evaluate(fills)
    page.select_option("#colour", "gradient")
    assert page.evaluate(fills) > before == 1


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"'`", "\\N\nline", "🎓", 300 * "x", "</script>"],
)
def test_names_stay_text(opened, name):
    x = tg.Tensor(2.0, requires_grad=True, name=name)
    page = opened(tg.draw.backward(tg.label(tg.label(x * x, name) * 3.0, name)))
    page.on("dialog", lambda dialog: pytest.fail("a name has run"))
    for _ in range(frames(page)):
        page.keyboard.press("ArrowRight")
    assert page.locator("#panel script, #panel img, #figure script, #figure img").count() == 0
    assert page.locator("body > *").count() == 3


def test_on_a_phone_and_in_the_dark(opened):
    _, _, loss = net()
    page = opened(tg.draw.backward(loss), viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


PHONE = {"width": 390, "height": 844}
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


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1366, "height": 768}], ids=["phone", "laptop"])
@pytest.mark.parametrize("kind, steps", [(tg.nn.RNN, 10), (tg.nn.LSTM, 3)])
def test_the_controls_stay_and_the_current_node_is_seen_in_every_frame(opened, kind, steps, viewport):
    page = opened(tg.draw.backward(net(kind, steps)[2]), viewport=viewport)
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
    while page.inner_text("#equation") != equation:
        assert int(page.input_value("#slider")) < frames(page), f"no frame says {equation}"
        page.keyboard.press("ArrowRight")


def test_numbers_stand_below_the_equations_and_are_right(opened):
    _, _, loss = net()
    page = opened(tg.draw.forward(loss))
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


def test_the_map_of_a_sum_is_filled_when_it_is_largest(opened):
    page = opened(tg.draw.forward(net()[2]), "#step=9999")
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


@pytest.mark.parametrize("id", ["__proto__", "toString", "n999", "legend"])
def test_a_pin_that_is_no_node_is_none(opened, id):
    page = opened(tg.draw.forward(net()[2]), f"#step=4&pin={id}")
    assert not page.is_visible("#pinned") and page.inner_text("#count").startswith("4 /")


def test_a_node_is_pinned_by_keyboard(opened):
    page = opened(tg.draw.forward(net()[2]), "#step=3")
    assert page.locator("#forward [tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert "ĥ⁽²⁾" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    assert page.is_visible("#pinned") and page.inner_text("#name") == "ĥ(2)"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.is_visible("#pinned") and page.inner_text("#name") != "ĥ(2)"
    assert page.get_attribute("#play", "aria-label") == "play"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pinned_node_is_marked(opened, scheme):
    page = opened(tg.draw.forward(net()[2]), "#step=9999&pin=total0", color_scheme=scheme)
    stroke = "getComputedStyle(document.querySelector('#backward g.pin > polygon')).stroke"
    assert page.evaluate(stroke) == "rgb(91, 141, 239)"


def test_a_sum_is_pinned_and_a_pinned_node_says_both_equations(opened):
    page = opened(tg.draw.forward(net()[2]), "#step=9999")
    page.locator("#backward g.node[data-id=sum1]").click()
    assert page.inner_text("#equation") == "dU ← dU + dU(1)" and "pin=total1" in page.url
    page.evaluate("location.hash = '#step=9999&pin=' + Object.keys(nodes).find(id => nodes[id].plain === 'h⁽²⁾')")
    playwright.expect(page.locator("#equation")).to_have_text("h(2) = f(ĥ(2))")
    assert page.inner_text("#back-equation") == "dh(2) = tU dĥ(3)"
    page.keyboard.press("Home")
    assert page.inner_text("#value-caption") == "value: –" and page.inner_text("#gradient-caption") == "gradient: –"


def test_arrows_step_after_a_select_was_used(opened):
    page = opened(tg.draw.forward(net()[2]))
    page.focus("#speed")
    speed = page.input_value("#speed")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#count").startswith("1 /") and page.input_value("#speed") == speed


def test_one_live_region_says_each_step_once_and_nothing_while_playing(opened):
    page = opened(tg.draw.forward(net()[2]))
    assert page.locator("[aria-live], output").count() == 1
    page.keyboard.press("ArrowRight")
    said = page.text_content("#said")
    assert said.startswith("Step 1 of") and "ĥ(1) = W x(1)" in said
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
def test_one_scale_for_all_frames_with_a_legend_and_zeros_white(opened, scheme):
    page = opened(tg.draw.forward(net()[2]), "#step=9999&colour=gradient", color_scheme=scheme)
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
    go_to(page, "Steps 3 to 18 run: 16 of them, not drawn.")
    assert "later" not in page.get_attribute("#forward g.node[data-id=dots0]", "class")
    assert page.inner_text("#value") == "" and "one for steps 3 to 18" in page.text_content("#terms")


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM])
def test_one_file_of_less_than_a_megabyte(tmp_path, kind):
    rnn, readout = kind(4, 8, rng=0), tg.nn.Linear(8, 1, rng=0)
    hs, _ = rnn(np.random.default_rng(0).standard_normal((10, 4)))
    path = tg.draw.forward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))).save(tmp_path / "page.html")
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("options", [{}, {"level": "primitives"}, {"values": True}])
def test_the_labels_of_an_svg_stand_in_their_nodes(browser, tmp_path, options):
    """In the fonts that this browser has."""
    page = browser.new_page()
    page.goto(f"file://{tg.draw.backward(net(tg.nn.LSTM, 2)[2], **options).save(tmp_path / 'figure.svg')}")
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
    page.close()
    assert len(found) > 20
    for id, left, right in found:
        assert min(left, right) > 0 and abs(left - right) < 6, id
