"""Words for people to read: tables in a terminal, and numbers of things."""

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """A number of things, whose plural is regular: 1 step, 1,000 steps, 2 sums over time."""
    thing, over, what = noun.partition(" over ")
    return f"{count:,} {thing}{'' if count == 1 else 's'}{over}{what}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines, the first a header, in columns that are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *others = rows
    lines = [header, ["-" * width for width in widths], *others]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
