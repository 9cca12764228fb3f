"""The page, in a real browser without a window: what a lecturer sees and does."""

import json
import shutil

import numpy as np
import pytest

import tinygrad_rnn as tg

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """opened(diagram, hash=""): the page of a diagram; it must say nothing on the console and ask for nothing."""
    said, asked = [], []

    def open(diagram, hash="", **options):
        path = diagram.save(tmp_path / "page.html")
        page = browser.new_page(**options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{path}{hash}")
        return page

    yield open
    assert said == [] and {url.split(":")[0] for url in asked} <= {"file", "data"}


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


def test_one_file_of_less_than_a_megabyte(tmp_path):
    rnn, readout = tg.nn.RNN(4, 8, rng=0), tg.nn.Linear(8, 1, rng=0)
    hs, _ = rnn(np.ones((10, 4)))
    path = tg.draw.forward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))).save(tmp_path / "page.html")
    assert path.stat().st_size < 1_000_000
