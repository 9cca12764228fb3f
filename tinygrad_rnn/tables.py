"""Tables of words, for people to read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines, the first a header, in columns that are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *others = rows
    lines = [header, ["-" * width for width in widths], *others]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
