import numpy as np
import pytest

from tinygrad_rnn import datasets
from tinygrad_rnn.experiments.data import Series, Text, load
from tinygrad_rnn.experiments.settings import Settings


def series(values, window=2):
    return Series(Settings(data="sine", window=window), np.asarray([values, values], float))


def text(characters, **known):
    return Text(Settings(data="a.txt", window=2, **known), characters)


def test_the_baselines_of_the_sunspots_are_those_that_are_known():
    baselines = load(Settings()).baselines()
    assert baselines["last value"] == pytest.approx(1107.29, abs=0.01)
    assert baselines["linear autoregression, order 9"] == pytest.approx(377.93, abs=0.01)


def test_the_baselines_of_python_s_help_are_those_that_are_known():
    baselines = load(Settings(data="topics")).baselines()
    assert baselines["unigram"] == pytest.approx(4.67, abs=0.05)
    assert baselines["bigram"] == pytest.approx(3.34, abs=0.05)


def test_a_linear_recurrence_is_forecast_exactly_by_the_autoregression():
    values = np.sin(0.7 * np.arange(60.0))
    assert series(values).baselines()["linear autoregression, order 9"] < 1e-20


def test_a_short_series_has_no_autoregression():
    assert list(series(np.arange(20.0) ** 2).baselines()) == ["last value"]


def test_a_series_is_scaled_by_its_training_part_alone():
    values = np.append(np.arange(8.0), [1e6, -1e6])
    data = series(values)
    scaled = data.vectors(np.array(data.training))
    assert data.held_out == range(8, 10) and scaled.shape == (8, 1)
    assert scaled.mean() == pytest.approx(0.0, abs=1e-15) and scaled.std() == pytest.approx(1.0)
    in_units = data.vectors(np.arange(10))[:, 0] * np.sqrt(data.scale) + data.known[0, -1]
    np.testing.assert_allclose(in_units, values, atol=1e-9)


def test_a_text_is_its_characters_as_one_of_K():
    data = text("abcabcabca", dtype="float32")
    assert (data.alphabet, data.held_out, data.width) == (["a", "b", "c"], range(9, 10), 3)
    vectors = data.vectors(np.array([[0, 1], [2, 3]]))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.eye(3)[[[0, 1], [2, 0]]])


def test_characters_beyond_the_basic_plane_are_one_each(tmp_path):
    (tmp_path / "a.txt").write_text("𝛼𝛽" * 20, encoding="utf-8")
    data = load(Settings(data=str(tmp_path / "a.txt"), window=2))
    assert data.alphabet == ["𝛼", "𝛽"]


@pytest.mark.parametrize(
    "name, content, settings, message",
    [
        ("a.txt", b"", {}, r"a\.txt: the file is empty"),
        ("a.txt", b"\xff\xfe\x00", {}, r"a\.txt: not a text in UTF-8"),
        ("a.txt", b"a" * 100, {}, "one character again and again"),
        ("a.txt", b"ab" * 10, {}, "window=32 needs 33 characters to learn from; there are 20, 18 of them not held out"),
        ("a.csv", b"v\n1\n", {}, "window=22 needs 23 values to learn from; there are 1, 0 of them not held out"),
        ("a.csv", b"v\n" + b"1\n" * 50, {}, "the training part is constant"),
        ("a.csv", b"v\n" + b"1e308\n-1e308\n" * 50, {}, "too large to scale"),
        ("a.csv", b"v\n" + b"1\n2\n" * 50 + b"1e400\n", {}, r"line 102: column 'v' holds '1e400'"),
        ("a.csv", b"v;w\n1;2\n", {}, r"name a column; the columns are 'v', 'w'"),
        ("a.dat", b"v\n1\n", {}, r"a\.dat': sunspots, sine, topics, or a file whose name ends in \.csv or \.txt"),
    ],
)
def test_what_cannot_be_learnt_is_told(tmp_path, name, content, settings, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(Settings(data=str(tmp_path / name), **settings))


def test_a_file_as_spreadsheets_write_it(tmp_path):
    lines = "\r\n".join(["\ufeffyear;number", *(f"{i};{i % 7}.5" for i in range(50))])
    (tmp_path / "a.csv").write_bytes(lines.encode())
    data = load(Settings(data=str(tmp_path / "a.csv"), column="number"))
    np.testing.assert_array_equal(data.sequence, np.arange(50) % 7 + 0.5)


def test_sine_and_sunspots_come_with_the_package():
    data = load(Settings(data="sunspots"))
    assert (data.name, data.axis, data.origin) == ("sunspot number", "year", 1700)
    np.testing.assert_array_equal(load(Settings(data="sine")).sequence, datasets.sine())
    np.testing.assert_array_equal(load(Settings(data="sunspots")).sequence, datasets.sunspots())
