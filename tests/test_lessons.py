"""Every lesson runs, and what it says is so. Those that train do so for less time than the lesson itself takes."""

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from math import comb
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LESSONS = sorted(EXAMPLES.glob("[0-9]*.py"))
LESS_TRAINED = (9, 11, 12, 16)  # than they need, so that their numbers may be outside of their bands
CONTENTS = (EXAMPLES / "README.md").read_text(encoding="utf-8")


def words(path):
    """What is written in a picture, without the numbers, which a shorter run may change."""
    texts = ("".join(e.itertext()).strip() for e in ET.parse(path).iter() if e.tag.endswith(("}text", "}title")))
    return {text for text in texts if text and not re.fullmatch(r"[−⁻\d⁰¹²³⁴-⁹×.\s]+", text)}


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """What a lesson returns, by its number; its picture is that in the table of contents, its numbers are in their
    bands. A lesson is taught in one test, since it takes a while.
    """
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def teach(number):
        path = LESSONS[number - 1]
        lesson = runpy.run_path(str(path))
        with contextlib.redirect_stdout(io.StringIO()) as told:
            found = lesson["main"](tmp_path, quick=True)
        assert words(EXAMPLES / "figures" / f"{path.name[:2]}.svg") == words(tmp_path / lesson["PICTURE"])
        assert number in LESS_TRAINED or "IT IS NOT" not in told.getvalue()
        assert ("expected" in told.getvalue()) == ("expected" in lesson)
        return found

    return teach


def test_lessons_are_short_and_in_the_table_of_contents():
    assert len(LESSONS) == 16 and "# A course on backpropagation through time\n\nSixteen lessons" in CONTENTS
    for number, path in enumerate(LESSONS, 1):
        assert path.name.startswith(f"{number:02}_") and len(path.read_text(encoding="utf-8").splitlines()) <= 105
        entry = next(line for line in CONTENTS.splitlines() if line.startswith(f"| **{number}. "))
        assert f"]({path.name})" in entry and f"(figures/{path.name[:2]}.svg)" in entry
        assert any(f"*{text}" in entry for text in ("interdb", "BPTT post", "Module 5", "IIT slides", "TowardsML"))


def test_a_neuron_s_gradient_is_the_product_of_its_derivatives(taught):
    found = taught(1)
    np.testing.assert_allclose(found["product"], found["w"], rtol=1e-14)
    np.testing.assert_allclose(found["difference"], found["w"], rtol=1e-8)
    assert found["w"] == 2.0 * found["b"]


def test_a_net_unrolled_is_the_loop_and_grows_by_as_many_nodes_a_step(taught):
    found = taught(2)
    assert found["difference"] < 1e-15
    assert {(found["nodes"][T] - found["nodes"][1]) / (T - 1) for T in (10, 100, 1000)} == {5.0}
    assert found["reach"][0.1] > found["reach"][1.0] > 1e6 * found["reach"][10.0]


def test_the_backward_graph_has_the_derivatives_of_the_text(taught):
    found = taught(3)
    assert set(found["labels"]) == {"f′(ĥ)", "ᵗh", "ᵗx", "1", "ᵗU", "ᵗV", "y − Y"}
    assert all(found["exact"].values()) and found["difference"] < 1e-15
    assert {"∂ĥ/∂h(t-1) = U", "dh(t-1) = ᵗU dĥ"} <= {name.strip() for name in found["exact"]}  # both are said


def test_the_terms_add_up_and_none_may_be_left_out(taught, tmp_path):
    found = taught(4)
    assert found["steps"] == [1, 2, 3] and found["rest"] < 1e-14
    assert found["output"] == "−2 (d − y) ᵗs₃"
    assert f"{found['missing']['W_s']:.0%} {found['missing']['W_x']:.0%}" == "26% 55%"
    assert "misses 26 % of one gradient here, and 55 % of another" in CONTENTS
    assert np.all((found["table"] > 0) == np.tri(10, dtype=bool))
    assert r"\frac{\partial^{+} s_{1}}{\partial W_{s}}" in (tmp_path / "sum.tex").read_text(encoding="utf-8")


def test_graph_equations_differences_and_program_agree(taught):
    found = taught(5)
    assert found["equations"] < 1e-14 and found["compiled"] < 1e-14 and found["outer"] < 1e-15
    assert found["differences"] < 1e-8


def test_jacobians_stay_below_their_bound_and_vanish_as_expected(taught):
    found = taught(6)
    assert found["slope"] == 0.25
    for norms, bound in found["measured"].values():
        assert np.all(norms <= bound * (1 + 1e-9))
    assert {net: found["reach"][net] for net in (("sigmoid", 1.0), ("sigmoid", 5.0), ("tanh", 1.0))} == {
        ("sigmoid", 1.0): 4,
        ("sigmoid", 5.0): 18,
        ("tanh", 1.0): None,
    }
    text = "after 4 steps if U keeps lengths, after 18 if U is 5 times that; that of tanh after more than 50"
    assert text in CONTENTS


def test_clipping_keeps_descent_from_leaping_off_the_wall(taught):
    found = taught(7)
    assert re.match(r"linear\(51\d\)", found["anomaly"])
    assert 1400 < found["norm"] < 1700 and 0.03 < found["median"] < 0.07
    np.testing.assert_allclose(found["at"], (4.81, -2.494), atol=5e-4)
    np.testing.assert_allclose(found["final"]["unclipped"], 0.09, atol=0.01)
    assert found["final"]["norm at most 1"] < 0.02 and found["final"]["elements at most 1"] < 0.02
    assert found["longest"]["norm at most 1"] <= 0.01 * (1 + 1e-12) < 1.0 < found["longest"]["unclipped"]
    assert found["longest"]["elements at most 1"] <= 0.01 * np.sqrt(2.0) * (1 + 1e-12)


def test_activation_and_initial_weights_together_decide_what_is_left(taught):
    found = taught(8)
    left = found["left"]
    assert left["sigmoid"] < left["relu"] < left["tanh"] < left["IRNN"]
    forget = [left[f"LSTM, b_f = {b}"] for b in (0, 1, 3)]
    assert forget[0] < 1e-6 * forget[1] and forget[1] < 0.1 * forget[2]
    scales, powers = found["scales"], found["powers"]
    assert list(scales.values()) == sorted(scales.values()) and scales[0.5] < 1e-20 and scales[2.0] > 1e3
    assert [round(norm, 1) for norm in powers.values()] == [1.8, 2.9, 2.0, 2.1]


def test_a_chunk_of_five_learns_a_lag_of_eight(taught):
    found = taught(9)
    neither, first, both = found["stairs"]
    np.testing.assert_allclose(found["stairs"], [0.6616, 0.5192, 0.4545], atol=5e-5)
    assert found["off"][1] > found["off"][10] > found["off"][20] == 0.0
    assert first + 0.05 < found["learnt"][16, 3] < neither + 0.01
    assert both < found["learnt"][16, 5] < 0.5 < found["learnt"][4, 5] < 0.53


def test_stacked_nets_have_the_gradients_of_the_equations_and_as_many_ways(taught):
    found = taught(10)
    assert found["difference"] < 1e-14
    assert found["ways"] == {L: comb(10 + L - 2, L - 1) for L in (1, 2, 3, 4)}
    assert all(flow[-1] < 1e-3 * flow[0] for flow in found["flows"].values())


def test_gates_learn_the_adding_problem(taught):
    found = taught(11)
    solved = {"LSTM, forget bias 1", "GRU", "RNN, relu, U = 1, W ~ 0.1"}
    assert {name for name, error in found.items() if error < 0.01} == solved
    assert all(error > 0.05 for name, error in found.items() if name not in solved)


def test_a_character_model_starts_at_log_v_and_passes_the_baselines(taught):
    found = taught(12)
    assert abs(found["first"] - found["alike"]) < 0.3
    assert 4.5 < found["unigram"] < 4.9 and 3.2 < found["bigram"] < 3.5
    assert found["net"] < found["unigram"] - 0.5


def test_the_gradient_forward_in_time_is_the_same_and_costs_more(taught):
    found = taught(13)
    assert found["difference"] < 1e-14
    assert found["counts"] == {2: (78, 28), 4: (612, 80), 8: (6504, 256), 16: (83280, 896)}
    assert "For 16 units it takes 93 times the products" in CONTENTS and round(83280 / 896) == 93
    back, forward = np.array(found["memory"]["BPTT"]), np.array(found["memory"]["RTRL"])
    assert np.ptp(forward) < 0.05 * forward[0] and np.all(np.diff(back) > 0)
    assert back[0] < forward[0] and back[-1] > forward[-1]


def test_attention_reaches_back_and_finds_what_is_marked(taught):
    found = taught(14)
    through_time, direct = found["flows"].values()
    assert 1.5e-4 < through_time[-1] / through_time.max() < 2.5e-4 and direct[-1] == direct.max()
    assert direct.min() > 0.1 * direct.max()
    assert "all of it where the plain net leaves 0.02 %" in CONTENTS
    assert found["final"]["by attention"] < 0.01 and found["final"]["by the last state"] > 0.1
    assert found["looked"] > 0.2  # of five or six steps in a hundred


def test_one_way_knows_half_of_what_both_ways_know(taught):
    found = taught(15)
    forward, back, both = (norms > 0.0 for norms in found["reach"].values())
    np.testing.assert_array_equal(forward, [True, True, True, False, False, False])
    np.testing.assert_array_equal(back, [False, False, True, True, True, True])
    assert np.all(both)
    assert found["right"]["both ways"] > 0.995
    assert all(0.45 < found["right"][way] < 0.55 for way in ("forward", "back"))


def test_a_decoder_writes_each_digit_from_the_one_that_it_is(taught):
    found = taught(16)
    assert found["right"] > 0.7
    np.testing.assert_array_equal(np.argmax(found["norms"], axis=1), np.arange(8)[::-1])


def test_a_lesson_is_a_script(tmp_path):
    """In a folder of its own, with warnings as errors."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    code = [sys.executable, "-W", "error", LESSONS[1]]
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, encoding="utf-8", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    *_, last = done.stdout.splitlines()
    assert last.startswith("figures: figure_7_5.svg, ") and last.endswith(f" in {Path('lessons', '02')}")
    assert list((tmp_path / "lessons" / "02").glob("*.svg"))


def test_a_number_outside_its_band_is_told():
    expected = runpy.run_path(str(EXAMPLES / "lesson.py"))["expected"]
    assert expected(2.0, 1, 3) == "expected 1 to 3"
    assert expected(float("nan"), 1, 3) == expected(4.0, 1, 3) == "expected 1 to 3: IT IS NOT"


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """The cells of code of the tour: as they are shipped, as they come out here, and again where nothing can draw."""
    needed = "the tour is executed with nbclient and ipykernel"
    nbformat, client, _ = (pytest.importorskip(name, reason=needed) for name in ("nbformat", "nbclient", "ipykernel"))
    shipped = [cell for cell in nbformat.read(EXAMPLES / "tour.ipynb", as_version=4).cells if cell.cell_type == "code"]
    here, without = ([nbformat.v4.new_code_cell(cell.source) for cell in shipped] for _ in range(2))
    between = nbformat.v4.new_code_cell("import sys; sys.modules['pygraphviz'] = None  # as if it were not installed")
    whole = nbformat.v4.new_notebook(cells=[*here, between, *without])
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("tour"))}}
    client.NotebookClient(whole, timeout=120, resources=where).execute()
    return shipped, here, without


def shown(cell):
    """What a cell shows, as text: of a figure its labels, of a page that there is one."""
    found = []
    for output in cell.outputs:
        assert output.output_type != "error"
        for kind, text in sorted(output.get("data", {"text": output.get("text")}).items()):
            labels = kind == "image/svg+xml" and ["".join(e.itertext()) for e in ET.fromstring(text).iter()]
            found.append((kind, labels or ("<iframe" if text.startswith("<iframe") else text)))
    printed = "".join(text for kind, text in found if kind == "text")  # in as many pieces as it happens
    return [("text", printed)] * bool(printed) + [x for x in found if x[0] != "text"]


def test_the_tour_comes_with_what_it_shows(toured):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    said = ["".join(notebook["cells"][0]["source"]), " ".join(CONTENTS.split()), readme]
    shipped, here, _ = toured
    assert len(here) == 13 and all("essons 1 to 9 in thirteen cells of code" in text for text in said)
    assert [shown(cell) for cell in shipped] == [shown(cell) for cell in here]
    everything = [kind_and_text for cell in here for kind_and_text in shown(cell)]
    assert [kind for kind, _ in everything].count("image/svg+xml") == 7 and ("text/html", "<iframe") in everything
    assert ("text", "The gradient is the sum: True\n") in everything


def test_the_tour_runs_where_nothing_can_draw(toured):
    """As in JupyterLite: each figure, and the page, says what to install, and all else is as it was."""
    _, here, without = toured
    changed = [(shown(a), shown(b)) for a, b in zip(here, without, strict=True) if shown(a) != shown(b)]
    assert len(changed) == 8
    for before, now in changed:
        assert {kind for kind, _ in before} & {"image/svg+xml", "text/html"}
        assert any("pip install pygraphviz" in text for _, text in now)
