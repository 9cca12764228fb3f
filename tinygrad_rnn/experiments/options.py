"""Settings, each declared once: a field of a dataclass gives its check, for any caller, and the option of a command."""

import argparse
import contextlib
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, field, fields
from typing import Any, get_args

from tinygrad_rnn.checks import number, one_of, positive, text, whole


def option(default: Any, meaning: str, **known: Any) -> Any:
    """A field of a dataclass with its meaning, as `--help` shows it, and what is known of its values.

    Args:
        known: choices, the words that it is one of; least and most (10⁹), the bounds of a number that is not just
            positive, and wanted, what says so where these have no meaning; of, the name and the value of another field,
            which alone makes this one have an effect.
    """
    return field(default=default, metadata={"help": meaning, **known})


def check(settings: Any) -> None:
    """Check every field of an object of such a dataclass, and make its numbers plain ones.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or that has no effect.
    """
    for setting in fields(settings):
        object.__setattr__(settings, setting.name, _checked(setting, getattr(settings, setting.name)))
    for setting in fields(settings):
        value, (other, wanted) = getattr(settings, setting.name), setting.metadata.get("of", (setting.name, None))
        if value != setting.default and wanted is not None and getattr(settings, other) != wanted:
            given = f"{setting.name}={value!r} is of {other}={wanted!r}"
            raise ValueError(f"{given}, not of {getattr(settings, other)!r}")


def refuse_unknown(kind: str, keys: Iterable[str], known: Sequence[str]) -> None:
    """Raise a ValueError for a key that is none of those that are known; says which one may be meant."""
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown {kind} {key!r}; {meant}")


def value_type(setting: Field) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    kinds = get_args(setting.type) or (setting.type,)
    return kinds[0], type(None) in kinds


def _checked(setting: Field, value: Any) -> Any:
    """The value, if it is of the field's type and in its range."""
    name, known, (kind, optional) = setting.name, setting.metadata, value_type(setting)
    least, most = known.get("least"), known.get("most", 10**9)
    if value is None and optional:
        return None
    if "choices" in known:
        return one_of("", name, value, known["choices"])
    if kind is int:
        return whole("", name, value, least, most)
    if kind is float and least is None:
        return positive("", name, value)
    if kind is float:
        return number("", name, value, known.get("wanted", f"a number from {least:g} to {most:g}"), least, most)
    return text("", name, value)


def add_options(parser: argparse._ActionsContainer, kind: type, several: bool = False) -> None:
    """Add an option for every field of such a dataclass, or one that takes several values of it."""
    for setting in fields(kind):
        meaning, default = setting.metadata["help"], setting.default
        if default is not None:
            meaning = f"{meaning} (default: {default if not isinstance(default, float) else format(default, 'g')})"
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}", type=reader(*value_type(setting)), default=argparse.SUPPRESS,
            nargs="+" if several else None, help=meaning.replace("%", "%%"),
            metavar="|".join(setting.metadata.get("choices", ())) or setting.name.rpartition("_")[2].upper(),
        )  # fmt: skip


def given(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The values of those options of `add_options` that were given."""
    return {s.name: getattr(options, s.name) for s in fields(kind) if hasattr(options, s.name)}


def reader(kind: type, optional: bool = False, least: int | None = None) -> Callable[[str], Any]:
    """A function that reads an option's value from its text: a word, or a number, from the least up if there is one."""
    what = {int: "a whole number", float: "a number", str: "a word"}[kind]
    wanted = what + (" or none" if optional else "") + ("" if least is None else f" from {least} up")

    def read(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = None if optional and text == "none" else kind(text)
            if least is None or value >= least:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")

    return read
