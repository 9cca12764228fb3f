import shutil
from itertools import count

import numpy as np
import pytest

import tinygrad_rnn as tg

LAPTOP = {"width": 1280, "height": 720}
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


@pytest.fixture(scope="session")
def tab(browser):
    """The tab in which every page is opened: to open another costs more than most tests."""
    return browser.new_page()


@pytest.fixture
def opened(tab, tmp_path):
    """opened(diagram, hash=""): the page of a diagram, or of a file, in place of the one before; it must say nothing on
    the console or in a dialog, and ask for nothing.
    """
    said, asked, number = [], [], count()
    listeners = {
        "console": lambda message: said.append(message.text),
        "dialog": lambda dialog: (said.append(dialog.message), dialog.dismiss()),
        "pageerror": lambda error: said.append(str(error)),
        "request": lambda request: asked.append(request.url),
    }

    def open(diagram, hash="", viewport=LAPTOP, color_scheme="light"):
        path = diagram.save(tmp_path / "page.html") if hasattr(diagram, "save") else diagram
        tab.set_viewport_size(viewport)
        tab.emulate_media(media="screen", color_scheme=color_scheme)
        tab.mouse.move(0, 0)
        tab.goto(f"file://{path}?{next(number)}{hash}")  # with another hash alone it would be the same document
        return tab

    tab.goto("about:blank")
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield open
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
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
