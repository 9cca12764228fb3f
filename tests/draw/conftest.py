import shutil

import numpy as np
import pytest

import tinygrad_rnn as tg

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """opened(diagram, hash=""): the page of a diagram, or of a file; it must say nothing on the console and ask for
    nothing.
    """
    said, asked, pages = [], [], []

    def open(diagram, hash="", **options):
        path = diagram.save(tmp_path / "page.html") if hasattr(diagram, "save") else diagram
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{path}{hash}")
        return page

    yield open
    for page in pages:
        page.close()
    assert said == [] and {url.split(":")[0] for url in asked} <= {"file", "data"}


@pytest.fixture(scope="session")
def unrolled():
    """unrolled(T): the loss of a many-to-one net over T steps, as in Fig. 7-5; many: the sum of one at every step."""

    def make(T, nonlinearity="tanh", loss=tg.nn.half_squared_error, kind="RNN", many=False, **options):
        if kind == "RNN":
            options["nonlinearity"] = nonlinearity
        rnn, readout = getattr(tg.nn, kind)(2, 3, rng=0, **options), tg.nn.Linear(3, 1, rng=0)
        hs, _ = rnn(np.random.default_rng(1).standard_normal((T, 2)))
        losses = [loss(readout(h), np.ones(1)) for h in (hs if many else hs[-1:])]
        return tg.label(sum(losses[1:], losses[0]), "E") if many and T > 1 else losses[-1]

    return make
