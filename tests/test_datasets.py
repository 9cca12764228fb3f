import time

import numpy as np
import pytest

from tinygrad_rnn import datasets


def read_column(path, column=None):
    return datasets.read_table(path, [column])[0][0]


def test_sunspots_are_yearly_from_1700_to_2008():
    series = datasets.sunspots()
    assert len(series) == 309 and (series[0], series[-1], series.max()) == (5.0, 2.9, 190.2)


def test_sine_has_its_periods():
    series = datasets.sine(points=100, periods=2)
    np.testing.assert_allclose(series[:50], series[50:], atol=1e-14)


def test_window_is_the_end_of_the_series_and_what_comes_next():
    series = np.arange(10.0)
    xs, target = datasets.window(series, 3)
    assert (xs.shape, target.shape) == ((3, 1), (1,))
    np.testing.assert_allclose(np.append(xs, target) * series.std() + series.mean(), [6, 7, 8, 9])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_are_separated_by_what_the_header_has_most_of(tmp_path, separator):
    lines = [["year", "height, m" if separator != "," else "height"], ["1", "2.5"], ["3", "4.5"]]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(separator.join(line) for line in [["a", "b"] + lines[0], ["0", "0"] + lines[1]]))
    np.testing.assert_array_equal(read_column(path, lines[0][1]), [2.5])


@pytest.mark.parametrize(
    "series, steps, message",
    [
        (np.arange(4.0), 4, "need 5 values; there are 4"),
        (np.ones(9), 3, "constant"),
        (np.full(7, 0.1), 3, "constant"),
        (np.array([1e300, -1e300, 1e300]), 2, "too large"),
    ],
)
def test_windows_that_cannot_be(series, steps, message):
    with pytest.raises(ValueError, match=message):
        datasets.window(series, steps)


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "series.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    ["t,v\n1,2.5\n2,-3\n", "t,v\r\n1,2.5\r\n2,-3\r\n", '\ufeff"t","v"\n1,"2.5"\n2,-3', " t , v \n\n1,2.5\n2,-3\n\n"],
)
def test_a_column_of_a_csv_file(tmp_path, text):
    np.testing.assert_array_equal(read_column(write(tmp_path, text), "v"), [2.5, -3.0])


def test_the_only_column_needs_no_name(tmp_path):
    np.testing.assert_array_equal(read_column(write(tmp_path, "v\n1\n2\n")), [1.0, 2.0])


@pytest.mark.parametrize(
    "text, column, message",
    [
        ("t,v\n1,2\n", "w", r"there are no columns 'w'; the columns are 't', 'v'"),
        (
            't,v\n1,2\n"a,3\n4,5\n',
            "v",
            r"csv, line 2: what follows is not a CSV file in UTF-8 \(unexpected end of data\)",
        ),
        ('t,"v\n1,2\n', "v", r"series.csv: what follows is not a CSV file in UTF-8 \(unexpected end of data\)"),
        ("a,2001\nb,4\n", "2", r"line 1: is this a header\? Name columns as it does, or write one above it"),
        (",0,1\n0,1,2\n", "3", r"line 1: is this a header\?"),  # as pandas writes a frame without names
        ("0,1\n1,2\n3,4\n", "2", r"line 1: is this a header\?"),  # and one without its index
        ("v,v\n1,2\n", "v", r"there are 2 columns 'v'; the columns are 'v', 'v'"),
        ('v\n"1\n2"\n', "v", r"line 3: column 'v' holds '1\\n2'"),
        ("v\n" + 200_000 * "1", "v", "not a CSV file"),
        ("t,v\n1,2\n", None, r"name a column; the columns are 't', 'v'"),
        ("t,v\n1,2\n2,nan\n", "v", r"line 3: column 'v' holds 'nan'"),
        ("t,v\n1,2\n2,\n", "v", r"line 3: column 'v' holds ''"),
        ("t,v\n1,2\n2\n", "v", r"line 3: column 'v' holds ''"),
        ("t,v\n1,many\n", "v", r"line 2: column 'v' holds 'many'"),
        ("t,v\n1,inf\n", "v", r"line 2: column 'v' holds 'inf'"),
        ("v\n1\n\n3\n", "v", r"line 3: column 'v' holds ''"),
        ("", "v", "the file is empty"),
        ("\n\n", "v", "the file is empty"),
    ],
)
def test_bad_files_say_where(tmp_path, text, column, message):
    with pytest.raises(ValueError, match=message):
        read_column(write(tmp_path, text), column)


@pytest.mark.parametrize(
    "text, numbers",
    [
        ('t,v\n1,"1,234"\n2,"$1,234,567.5"\n3,-£12', [1234.0, 1234567.5, -12.0]),
        ("t;v\n1;1.234,5\n2;0,25 €\n3;-7", [1234.5, 0.25, -7.0]),
        ("t;v\n1;1,234\n2;2,345", [1.234, 2.345]),
        ('t,v\n1,"0,234"\n2,"1,345"', [0.234, 1.345]),
        ("t;v\n1;1.234.567\n2;950", [1234567.0, 950.0]),
        ("t;v\n1;1.5\n2;1e-3", [1.5, 0.001]),
        ("t\tv\n1\t1 234,5\n2\t1\u202f000 000,0", [1234.5, 1000000.0]),
        ("t,v\n1,1'234.5\n2,\u22121.5", [1234.5, -1.5]),
        ("# made by hand\nt,v\n# and\n1,2\n#N/A,3", [2.0, 3.0]),
        ('"","t","v"\n"1",1,2.5\n"2",1,3.5', [2.5, 3.5]),
        ("t,v,\n1,2.5,\n2,3.5", [2.5, 3.5]),
        ("t,v\n1,2.5,,\n2,-€ 3.5", [2.5, -3.5]),
        ('t,v\n1,"1,234.5 USD"\n2,EUR 5\n3,-CHF1.5', [1234.5, 5.0, -1.5]),
        ("sep=;\nt;v\n1;2,5\n", [2.5]),
        ('t,v\n"of\nits own",2.5', [2.5]),
    ],
)
def test_numbers_as_people_write_them(tmp_path, text, numbers):
    np.testing.assert_array_equal(read_column(write(tmp_path, text), "v"), numbers)


@pytest.mark.parametrize(
    "name, text, column, numbers",
    [
        ("a.tsv", "t\tv\n1\t2.5", "v", [2.5]),
        ("a.txt", "v w\n1.5  2\n2.5  3", "v", [1.5, 2.5]),
        ("a.txt", " v  w \n  1.5  2 \n 12.5  3\n", "v", [1.5, 12.5]),
        ("a.csv", "2.5\n3.5", None, [2.5, 3.5]),
        ("a.dat", "1.5 2.5\n3.5 4.5", "2", [2.5, 4.5]),
        ("a.csv", "1.5,2.5\n3.5,4.5", "2", [2.5, 4.5]),
        ("a.csv", "a,b\n3.5,4.5", "2", [4.5]),
        ("a.csv", "2,1\n3.5,4.5", "2", [3.5]),
        ("a.csv", "1.5\n2.5", "1", [1.5, 2.5]),
        ("a.csv", "2020-01-01;1,5\n2020-01-02;2,5", "2", [1.5, 2.5]),
        ("a.csv", "a,2001\nb,4\n", "2001", [4.0]),
        ("a.csv", "year 1,year 2\n3.5,4.5", "year 2", [4.5]),
    ],
)
def test_tables_of_other_programs_and_columns_by_number(tmp_path, name, text, column, numbers):
    (tmp_path / name).write_text(text)
    np.testing.assert_array_equal(read_column(tmp_path / name, column), numbers)


@pytest.mark.parametrize(
    "missing, numbers", [("drop", [[1, 5, 6], [2, 8, 9]]), ("forward", [[1, 1, 5, 5, 6], [2, 4, 8, 8, 9]])]
)
@pytest.mark.parametrize("gap", ["", "NA", "n/a", " NaN ", "#N/A", "null", "-"])
def test_what_is_missing_is_dropped_or_carried_forward(tmp_path, gap, missing, numbers):
    path = write(tmp_path, f"t;v;w\n1;1;2\n2;{gap};4\n3;5;8\n4;{gap};{gap}\n5;6;9")
    np.testing.assert_array_equal(datasets.read_table(path, ["v", "w"], missing=missing)[0], numbers)
    with pytest.raises(ValueError, match=rf"line 3: column 'v' holds '{gap}', .*; see missing='drop' and 'forward'"):
        datasets.read_table(path, ["v", "w"])


def test_nothing_is_carried_from_one_sequence_to_another(tmp_path):
    path = write(tmp_path, "id,v\na,1\nb,2\na,\nb,\na,3")
    values, ids = datasets.read_table(path, ["v"], ids="id", missing="forward")
    assert (values.tolist(), ids.tolist()) == ([[1, 1, 3, 2, 2]], ["a", "a", "a", "b", "b"])
    with pytest.raises(
        ValueError, match="missing='forward' has nothing before the missing value that a sequence begins"
    ):
        datasets.read_table(write(tmp_path, "id,v\na,1\nb,\nb,2"), ["v"], ids="id", missing="forward")


@pytest.mark.parametrize(
    "text, known, message",
    [
        (
            "t;v\n1;950\n2;1.050",
            {},
            "line 3: column 'v' holds '1.050', whose mark may be the decimal one or not: tell decimal='.' or ','",
        ),
        ("t\tv\n1\t1,234", {}, "holds '1,234', whose mark may be the decimal one or not"),
        ("t;v\n1;1,234\n2;5", {}, "holds '1,234', whose mark may be the decimal one or not"),
        ("t;v\n1;1.5\n2;2,5", {}, "line 2: column 'v' holds '1.5', which is no finite number with decimal=','"),
        ("t,v\n1,1.5", {"decimal": ","}, "column 'v' holds '1.5', which is no finite number with decimal=','"),
        ("t,v\n1,2,5\n2,3,5", {}, "line 2: 3 entries, and 2 columns"),
        ("t,v\n1,1$50", {}, "line 2: column 'v' holds '1\\$50', which is no finite number"),
        ("t,v\n1,12 34", {}, "line 2: column 'v' holds '12 34', which is no finite number"),
        ('t,v\n1,"1,23"\n2,"1,2,3"', {}, "line 3: column 'v' holds '1,2,3'"),
        ("t,v\n1,5 apples", {}, "line 2: column 'v' holds '5 apples'"),
        ("t,v\n1,2020-01-05", {}, "line 2: column 'v' holds '2020-01-05'"),
        ("# made by hand\n\nt,v\n1,2\n# and\n2,x", {}, "line 6: column 'v' holds 'x'"),
        (
            "t,v\n1,2",
            {"encoding": "klingon"},
            r"not a CSV file in KLINGON \(unknown encoding: klingon\); tell its encoding",
        ),
        ("t,v\n1,2", {"missing": "guess"}, r"missing='guess'\): not one of 'error', 'drop', 'forward'"),
    ],
)
def test_what_may_be_two_numbers_or_none_is_told(tmp_path, text, known, message):
    with pytest.raises(ValueError, match=message):
        datasets.read_table(write(tmp_path, text), ["v"], **known)


def test_all_columns_that_there_are_not_are_told(tmp_path):
    with pytest.raises(
        ValueError, match="there are no columns 'w', 'u' and 2 columns 'v'; the columns are 't', 'v', 'v'"
    ):
        datasets.read_table(write(tmp_path, "t,v,v\n1,2,3\n"), ["w", "t", "v", "u"])


def test_an_id_has_no_spaces_beside_it_and_is_not_missing(tmp_path):
    path = write(tmp_path, "id,v\nb,1\n a,2\nb ,3\na,4")
    assert datasets.read_table(path, ["v"], ids="id")[1].tolist() == ["b", "b", "a", "a"]
    for gap in ("", " ", "NA"):
        with pytest.raises(ValueError, match="line 3: column 'id' holds no id of a sequence"):
            datasets.read_table(write(tmp_path, f"id,v\nb,1\n{gap},2\nb,3"), ["v"], ids="id")


def test_the_mark_of_utf_8_says_the_encoding(tmp_path):
    path = write(tmp_path, "\ufeffgröße,b\n1.5,2\n")
    np.testing.assert_array_equal(datasets.read_table(path, ["größe"], encoding="latin-1")[0], [[1.5]])


def test_numbers_that_are_no_texts_have_no_decimal_mark():
    for table in (np.array([1.234, 5678.0]), [1.234, 5678.0], {"x": np.array([1.234, "5.678"], object)}):
        assert datasets.read_table(table, ["x"], decimal=",")[0].tolist() == [[1.234, 5678.0]]


def test_a_missing_entry_is_no_name_of_a_column(tmp_path):
    path = write(tmp_path, "NA,3\n1,4\n")
    assert datasets.read_table(path, ["2"])[0].tolist() == [[3.0, 4.0]]


def test_what_is_masked_is_missing():
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    assert datasets.read_table(masked, [None], missing="drop")[0].tolist() == [[1.0, 3.0]]
    with pytest.raises(ValueError, match="row 2: column 'None' holds 'None'"):
        datasets.read_table(masked, [None])


def test_what_may_be_two_numbers_can_be_told(tmp_path):
    path = write(tmp_path, "t;v\n1;950\n2;1.050")
    assert datasets.read_table(path, ["v"], decimal=".")[0].tolist() == [[950.0, 1.05]]
    assert datasets.read_table(path, ["v"], decimal=",")[0].tolist() == [[950.0, 1050.0]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "utf-8-sig"])
def test_an_encoding_that_is_told(tmp_path, encoding):
    path = write(tmp_path, "größe;b\r\n1,5;2\r\n", encoding)
    np.testing.assert_array_equal(datasets.read_table(path, ["größe"], encoding=encoding)[0], [[1.5]])


def test_tables_of_pandas_and_of_pyarrow(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b", "a"], "x": [0.1, None, 1e-17], "n": pandas.array([1, None, 3], "Int64")})
    tables = [frame, {"id": ["a", "b", "a"], "x": np.array([0.1, np.nan, 1e-17]), "n": [1, "", "3"]}]
    try:
        tables.append(pytest.importorskip("pyarrow").Table.from_pandas(frame))
    finally:
        for table in tables:
            values, ids = datasets.read_table(table, ["x", "n"], ids="id", missing="drop")
            assert (values.tolist(), ids.tolist()) == ([[0.1, 1e-17], [1.0, 3.0]], ["a", "a"])
            with pytest.raises(ValueError, match="row 2: column 'x' holds 'nan'"):
                datasets.read_table(table, ["x"])


def test_the_names_of_a_table_of_the_session_are_no_numbers_of_it():
    assert datasets.read_table({0: [1, 2], 1: [3, 4]}, ["2"])[0].tolist() == [[3, 4]]


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "series.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ValueError, match=r"series\.csv: not a CSV file in UTF-8"):
        read_column(tmp_path / "series.csv", "v")


def test_the_adding_problem_is_the_sum_of_two_marked_numbers():
    xs, targets = datasets.adding_problem(np.random.default_rng(0), 10, 50)
    numbers, marks = xs[..., 0], xs[..., 1]
    assert (marks[:5].sum(axis=0) == 1).all() and (marks[5:].sum(axis=0) == 1).all() and targets.shape == (50, 1)
    np.testing.assert_allclose(targets[:, 0], (numbers * marks).sum(axis=0))


def test_a_file_of_very_many_columns_is_told_in_a_short_line_and_read(tmp_path):
    path = write(tmp_path, ",".join(f"c{i}" for i in range(300_000)) + "\n" + ",".join(["1"] * 300_000))
    with pytest.raises(ValueError, match=r"name a column; the columns are 'c0', .*\.\.\.: 300,000 in all") as told:
        read_column(path)
    assert len(str(told.value)) < 400
    np.testing.assert_array_equal(read_column(path, "c299999"), [1.0])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_are_told(tmp_path, encoding):
    with pytest.raises(ValueError, match=r"series\.csv"):
        read_column(write(tmp_path, "größe,b\n1,2\n", encoding), "größe")


def test_what_is_no_file_of_numbers_is_told(tmp_path):
    with pytest.raises(ValueError, match="/dev/zero is not a regular file"):
        read_column("/dev/zero")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_column(tmp_path)


@pytest.mark.parametrize("content", [b"\0" * 50_000_000, b"v\n" + b"\0\n" * 5_000_000, b"v\n1\n\0\n2\n"])
def test_null_characters_are_told_at_once(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"a\.csv: not a CSV file in UTF-8 \(it holds null characters\)"):
        read_column(tmp_path / "a.csv")
    assert time.perf_counter() - started < 2


def test_the_first_number_that_is_none_is_told_before_the_rest_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("v\n1\nx\n" + "1\n" * 5 + '"' + "y" * 200_000)
    with pytest.raises(ValueError, match=r"a\.csv, line 3: column 'v' holds 'x', which is no finite number"):
        read_column(tmp_path / "a.csv")
