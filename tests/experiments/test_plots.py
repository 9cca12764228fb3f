import csv
import re

import numpy as np
import pytest

from tinygrad_rnn.experiments import plots


def drawn(path):
    pytest.importorskip("matplotlib")
    lines = {"tanh": np.array([1.0, 0.5, 0.25]), "bound": np.array([2.0, 1.0, 0.5])}
    x = ("distance, steps", [1, 2, 3])
    return plots.curves(path, "Vanishing", x, "‖∂L/∂h‖", lines, log=True, dashed=["bound"])


def test_curves_have_names_and_their_numbers_are_in_a_csv_file(tmp_path):
    text = drawn(tmp_path / "flow.svg").read_text()
    for words in ("Vanishing", "distance, steps", "‖∂L/∂h‖", "tanh", "bound"):
        assert words in text
    rows = list(csv.reader((tmp_path / "flow.csv").read_text().splitlines()))
    assert rows == [
        ["distance, steps", "tanh", "bound"],
        ["1", "1.0", "2.0"],
        ["2", "0.5", "1.0"],
        ["3", "0.25", "0.5"],
    ]


@pytest.mark.parametrize(
    "values, labels",
    [
        ([1e-9, 2.0], ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]),
        ([0.12, 0.35], ["0.2", "0.3"]),
        ([0.02, 2.0], ["10⁻¹", "10⁰"]),
    ],
)
def test_a_logarithmic_axis_has_powers_of_ten_and_a_short_one_the_numbers_between_them(tmp_path, values, labels):
    pytest.importorskip("matplotlib")
    text = plots.curves(tmp_path / "a.svg", "", ("t", [1, 2]), "y", {"a": values}, log=True).read_text()
    found = re.findall(r"<text[^>]*>(.*?)</text>", text)
    assert [label for label in found[: found.index("y")] if label not in "12t"] == labels


def test_labels_at_the_same_place_are_moved_apart(tmp_path):
    pytest.importorskip("matplotlib")
    labels = [f"line {i}" for i in range(30)]
    lines = {label: [1.0, 1.0 + 0.001 * i] for i, label in enumerate(labels)}
    text = plots.curves(tmp_path / "a.svg", "", ("t", [1, 2]), "", lines).read_text()
    heights = [float(re.search(rf' y="(\S+?)"[^>]*>{label}<', text)[1]) for label in labels]
    assert np.all(np.diff(heights) < -9.0)  # points; y is down in an SVG file


def test_the_same_figure_is_the_same_file(tmp_path):
    assert drawn(tmp_path / "a.svg").read_bytes() == drawn(tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", ["$a_{$.csv", b"a\xff.csv".decode(errors="surrogateescape")])
def test_a_name_is_no_formula_and_may_be_that_of_any_file(tmp_path, name):
    pytest.importorskip("matplotlib")
    lines = {name: [1.0, 2.0], "other": [2.0, 3.0]}
    text = plots.curves(tmp_path / "a.svg", name, (name, [1, 2]), name, lines, numbers=False).read_text()
    assert text.count(f">{name}<".replace("\udcff", "?")) == 4


@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_the_numbers_are_written_and_a_warning_says_what_to_install(tmp_path):
    with pytest.warns(UserWarning, match="pip install matplotlib"):
        plots.curves(tmp_path / "flow.svg", "", ("t", [1, 2]), "", {"a": [1.0, 2.0]})
    assert (tmp_path / "flow.csv").exists() and not (tmp_path / "flow.svg").exists()
