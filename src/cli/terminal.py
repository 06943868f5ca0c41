"""What the commands print on: answers on stdout, everything else on stderr."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

import typer
from rich.console import Console
from rich.text import Text


class _PipeConsole(Console):
    """Lets a closed pipe through: rich would end the process here, with an exit code of its own."""

    def on_broken_pipe(self) -> None:
        """Called by rich where the reader of the output went away."""
        raise


def console(stream: TextIO | None = None) -> Console:
    """A console on ``stream``, or on stdout as it is now.

    A character that the terminal's encoding lacks is replaced; it is never a crash.
    """
    if stream is None:
        stream = sys.stdout
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    return _PipeConsole(file=stream, highlight=False)


def data_stdout() -> TextIO:
    """Stdout for jsonl, csv and json: UTF-8 wherever it goes, so that a pipe carries emoji on every system."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdout


def report(message: str, *, prefix: str = "error: ") -> None:
    """One line on stderr."""
    typer.echo(prefix + one_line(message), err=True)


def one_line(text: str) -> str:
    """The text with white space and control characters (terminal escapes among them) as single blanks."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def plain(text: str, style: str = "") -> Text:
    """A text of a user's for a rich table: nothing in it is taken for mark-up."""
    return Text(one_line(text), style=style)


def silence_stdout() -> None:
    """Points stdout nowhere, so that the flush at interpreter exit does not fail a second time."""
    with suppress(OSError, ValueError):  # stdout of a test has no descriptor
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
