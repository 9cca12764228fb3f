"""DOT text to picture bytes, by the layout engine in pygraphviz's wheels."""

import os
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tinygrad_rnn.errors import DrawingError

_NO_DATE = re.compile(rb"(?<=/CreationDate \(D:)\d+")  # the same graph gives the same bytes
_IMAGE = re.compile(r'(?<= image=")data:image/png;base64,[^"]+')
_one_at_a_time = threading.Lock()  # Graphviz keeps its state in globals


def render(source: str, format: str, whole: bool = False) -> bytes:
    """Draw DOT text as "svg", "pdf" or "png"; or lay it out, as "plain" text.

    What the process says on its standard error while this goes on is kept off the terminal, whoever says it.

    Args:
        whole: it is an error if a bitmap would be too large, which is drawn smaller else.

    Raises:
        DrawingError: pygraphviz is not installed, or the drawing failed; with its messages.
    """
    try:
        import pygraphviz
    except ImportError as error:
        raise DrawingError(
            f"nothing here can draw {format}: `pip install pygraphviz` brings a layout engine along; or save as .dot"
        ) from error
    with _one_at_a_time, _captured_stderr() as said, TemporaryDirectory() as folder:
        images = {uri: os.path.join(folder, f"{i}.png") for i, uri in enumerate(_IMAGE.findall(source))}
        for uri, file in images.items():  # Graphviz reads images from files only
            source = source.replace(uri, file)
            Path(file).write_bytes(b64decode(uri.partition(",")[2]))
        try:
            graph = pygraphviz.AGraph(string=source)
            picture = graph.draw(format=format, prog=graph.graph_attr["layout"])
        except (OSError, ValueError) as error:
            raise DrawingError(f"Graphviz could not draw {format}: {error} {said()}".rstrip()) from error
        if "\nError: " in f"\n{said()}":  # it draws on, and leaves out what it could not read
            raise DrawingError(f"Graphviz could not draw all of it: {said()}")
        if whole and "too large" in said():
            raise DrawingError(
                "at so many dots per inch the picture is wider or higher than the 32,767 dots that a PNG can be drawn "
                "with; give fewer, or save as .svg or .pdf, or draw fewer steps (max_steps)"
            )
        for uri, file in images.items():
            picture = picture.replace(file.encode(), uri.encode())
        return _NO_DATE.sub(lambda date: b"0" * len(date[0]), picture) if format == "pdf" else picture


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what libraries say, those in C too, about fonts, sizes and the like off the user's terminal.

    Yields a function that returns what was said so far.
    """
    with TemporaryFile() as messages, redirect_stderr(StringIO()), ExitStack() as afterwards:

        def said() -> str:
            messages.seek(0)
            return messages.read().decode(errors="replace")

        with suppress(OSError):  # there is none, as in a daemon
            saved = os.dup(2)
            afterwards.callback(os.close, saved)
            afterwards.callback(os.dup2, saved, 2)
            os.dup2(messages.fileno(), 2)
        yield said
