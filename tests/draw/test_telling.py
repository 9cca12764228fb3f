"""What the page tells, before any browser: the frames of a graph, and the numbers in them."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw.page import Story

NETS = [{}, {"many": True}, {"kind": "LSTM"}, {"kind": "GRU", "many": True}, {"num_layers": 2}]


def gradients_told(story: Story) -> dict[str, np.ndarray]:
    """How every gradient is in the end, by the names on the page."""
    totals = {frame["to"]: frame["total"] for frame in story.frames if frame["phase"] == "backward"}
    told = {s["plain"]: totals[s["id"]] for s in story.sums}
    return {name: np.array(total["values"]).reshape(total["shape"]) for name, total in told.items()}


@pytest.mark.parametrize("options", [{}, {"max_steps": 2}, {"max_steps": 3, "level": "primitives"}])
@pytest.mark.parametrize("net", NETS)
def test_the_sums_told_are_the_gradients(unrolled, net, options):
    loss = unrolled(5, **net)
    parameters = [x for x in topological_order(loss) if x.is_leaf and x.requires_grad]
    grads = tg.grad(loss, parameters)
    story = tg.draw.backward(loss, **options).story()
    told = gradients_told(story)
    assert len(told) == len(parameters)
    for p, g in zip(parameters, grads, strict=True):
        name = f"d{p.name}" if net.get("num_layers") is None or p.layer is None else f"d{p.name}{'₁₂'[p.layer - 1]}"
        np.testing.assert_allclose(told[name], g.value, rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_a_state_before_hidden_steps_gets_its_whole_gradient(unrolled, net):
    loss = unrolled(6, **net)
    h = next(x for x in topological_order(loss) if x.name == "h" and x.step == 1)
    story = tg.draw.forward(loss, max_steps=2).story()
    id = next(id for id, node in story.nodes.items() if node["plain"] in ("h⁽¹⁾", "h₁⁽¹⁾"))
    last = [frame["total"] for frame in story.frames if frame.get("to") == id][-1]
    np.testing.assert_allclose(last["values"], tg.grad(loss, [h])[0].value, rtol=1e-8)


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
