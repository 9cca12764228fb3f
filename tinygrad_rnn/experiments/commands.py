"""The commands of the command line that run experiments; each fills a folder, `--out`, with its results."""

from __future__ import annotations

import argparse

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands to those of the command line."""
