from dataclasses import asdict

import pytest

from tinygrad_rnn.experiments.settings import Settings


def test_settings_are_their_dict():
    settings = Settings(cell="gru", lr=1)
    assert settings.lr == 1.0 and Settings(**asdict(settings)) == settings


def test_defaults_follow_the_data():
    series, text = Settings(), Settings(data="a.txt")
    assert (series.window, series.hidden, text.window, text.hidden) == (22, 16, 32, 128)
    assert Settings(data="topics", hidden=7).hidden == 7


def test_a_state_that_is_carried_goes_through_windows_of_the_truncation():
    series, text = Settings(truncate=5), Settings(data="topics", truncate=5)
    assert (series.window, series.batch) == (5, 1) and (text.window, text.batch) == (5, 32)


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"cell": "elman"}, ValueError, "cell='elman': not one of 'rnn', 'lstm', 'gru'"),
        ({"layers": 0}, ValueError, "layers=0: a whole number from 1 to 10000"),
        ({"lr": float("nan")}, ValueError, "lr=nan: a finite number above 0"),
        ({"lr": float("inf")}, ValueError, "lr=inf: a finite number above 0"),
        ({"lr": 10**400}, ValueError, "a finite number above 0"),
        ({"lr": True}, TypeError, "lr=True: a finite number"),
        ({"weight_decay": -1}, ValueError, r"weight_decay=-1: a number from 0 to 1e\+09"),
        ({"momentum": "x"}, TypeError, "momentum='x': a number from 0"),
        ({"hidden": 2.5}, TypeError, "hidden=2.5: a whole number"),
        ({"hidden": True}, TypeError, "hidden=True: a whole number"),
        ({"data": None}, TypeError, "data=None: a text"),
        ({"nonlinearity": "relu"}, ValueError, "is of cell='rnn', not of 'lstm'"),
        ({"momentum": 0.9}, ValueError, "momentum=0.9 is of optimizer='sgd'"),
        ({"column": "x"}, ValueError, "column='x' is of a CSV file; sunspots is none"),
        ({"truncate": 5, "window": 9}, ValueError, "truncate=5 carries the state from piece to piece, .* window=9"),
    ],
)
def test_what_does_not_fit_is_told(given, error, message):
    with pytest.raises(error, match=message):
        Settings(**given)


@pytest.mark.parametrize("name", ["lr", "clip_norm", "clip_value"])
def test_what_would_learn_nothing_is_told(name):
    with pytest.raises(ValueError, match=f"{name}=0.0: a finite number above 0 is needed"):
        Settings(**{name: 0.0})
