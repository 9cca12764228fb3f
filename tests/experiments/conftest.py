import sys

import pytest


@pytest.fixture
def without_matplotlib(monkeypatch):
    """As where matplotlib is not installed: no figures, which take five times as long as a tiny net's training."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
