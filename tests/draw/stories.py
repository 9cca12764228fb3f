"""A story as a person reads it: the equations of its frames as plain text, and the arrays that it shows."""

import re

import numpy as np

from tinygrad_rnn.draw.labels import BESIDE, MARK
from tinygrad_rnn.draw.page import Story

TOLD = [{}, {"many": True}, {"kind": "LSTM"}, {"kind": "GRU", "many": True}, {"num_layers": 2}]


def numbered(story: Story) -> dict[int, np.ndarray]:
    """The arrays that the page shows, by the numbers that it knows them by."""
    return {number: x.value for x, number in story.computation.numbers.items()}


def backward_frames(story: Story):
    """Every frame of the way back, and what the gradient is after it."""
    arrays = numbered(story)
    for frame in story.frames:
        if frame["phase"] == "backward":
            yield frame, arrays[frame["total"]]


def gradients_told(story: Story) -> dict[str, np.ndarray]:
    """How every gradient is in the end, by the names on the page."""
    return {frame["grows"][0]: total for frame, total in backward_frames(story) if "grows" in frame}


def as_text(markup: str) -> str:
    """An equation as plain text: dh⁽²⁾ = ᵗU dĥ⁽³⁾."""
    raised, lowered = str.maketrans("0123456789()-tT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗᵀ"), str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    text = re.sub(r"<SUP>(.*?)</SUP>", lambda found: found[1].translate(raised), markup)
    text = re.sub(
        r"<SUB>(.*?)</SUB>", lambda found: found[1].translate(lowered) if found[1].isdigit() else f"_{found[1]}", text
    )
    return re.sub(f"</?I>|{MARK}", "", text).replace(BESIDE, " ")


def equations(story: Story) -> list[str]:
    return [as_text(frame["equation"]) for frame, _ in backward_frames(story)]
