"""The decision log: written while texts are classified, read by ``healdag stats`` and by reports."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from ..errors import ConfigError, UsageError
from .jsonl import JsonLines, read_json_lines
from .row import Decision, TextMode, to_row
from .sqlite import Sqlite, read_sqlite

JSON_LINES = (".jsonl",)
SQLITE = (".db", ".sqlite", ".sqlite3")

log = logging.getLogger("healdag")


class DecisionLog:
    """Appends final decisions to a file; threads, and processes with logs of their own on the same file, can share it.

    A batch is one write (JSON lines) or one transaction (SQLite), in the hands of the system when :meth:`append`
    returns: a killed process loses no decision that was returned, and at most breaks the last line, which readers skip.

    Args:
        path: A ``.jsonl`` file, or a ``.db``, ``.sqlite`` or ``.sqlite3`` database; made where there is none.
        text: What becomes of the texts: 'store', 'hash' (their SHA-256, see :func:`healdag.store.hash_text`) or 'omit'.

    Attributes:
        path: As given.
        text: As given.

    Raises:
        ConfigError: another suffix or value, or the file cannot be opened.
    """

    def __init__(self, path: str | Path, *, text: TextMode = "hash") -> None:
        if text not in get_args(TextMode):
            raise ConfigError(f"text must be one of {', '.join(get_args(TextMode))}; got {text!r}")
        self.path = Path(path).expanduser()
        self.text = text
        is_sqlite = _is_sqlite(self.path)
        try:
            # Absolute: a later change of the working directory does not move the log.
            self._file = (Sqlite if is_sqlite else JsonLines)(self.path.absolute())
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"cannot write the decision log {str(self.path)!r}: {_why(error)}; give a file in a folder that exists"
            ) from None
        self._lock = threading.Lock()
        self._lost = 0

    def append(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Appends results, in the form of :class:`healdag.Classification` as plain values (``model_dump()``).

        Results that wait for a person (source 'pending') are passed over: they are not final.
        What goes wrong is a warning of the logger 'healdag', once until it goes well again; never an error.
        """
        final = [result for result in results if result["source"] != "pending"]
        if not final:
            return
        with self._lock:
            try:
                time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                self._file.write([to_row(result, time, self.text) for result in final])
            except Exception as error:  # a failing log costs its rows, never an answer
                if not self._lost:
                    log.warning("cannot write the decision log %s: %s", self.path, _why(error))
                self._lost += len(final)
                return
            if self._lost:
                log.warning("the decision log %s is written again; %d decisions are missing", self.path, self._lost)
                self._lost = 0


class Decisions:
    """The decisions of a log in the order in which they were written; each iteration reads the file anew.

    Attributes:
        path: The log.
        skipped: Broken lines, or rows, that the last iteration has passed over so far.
    """

    def __init__(self, path: Path, since: datetime | None, until: datetime | None, model_version: str | None) -> None:
        self.path = path
        self.skipped = 0
        self._since = since
        self._until = until
        self._model_version = model_version

    def __iter__(self) -> Iterator[Decision]:
        self.skipped = 0
        try:
            for row in (read_sqlite if _is_sqlite(self.path) else read_json_lines)(self.path):
                if row is None:
                    self.skipped += 1
                elif self._asked_for(row):
                    yield row
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"cannot read the decision log {str(self.path)!r}: {_why(error)}") from None

    def _asked_for(self, row: Decision) -> bool:
        return (
            (self._since is None or row.time >= self._since)
            and (self._until is None or row.time < self._until)
            and self._model_version in {None, row.model_version}
        )


def read_decisions(
    path: str | Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    model_version: str | None = None,
) -> Decisions:
    """The decisions of a log, read while one iterates; it may be written to meanwhile.

    Args:
        path: A file that a :class:`DecisionLog` wrote.
        since: Only decisions from this time on; without a time zone it is UTC.
        until: Only decisions before this time.
        model_version: Only decisions of this model, for example 'emotion/1.0.0'.

    Raises:
        ConfigError: another suffix than a log has.
        UsageError: no such file; while iterating, that it cannot be read. A broken line is none: see
            :attr:`Decisions.skipped`.
    """
    place = Path(path).expanduser()
    _is_sqlite(place)
    if not place.is_file():
        raise UsageError(f"no decision log at {str(place)!r}; create_classifier(log=...) and --log write one")
    return Decisions(place, _in_utc(since), _in_utc(until), model_version)


def _is_sqlite(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in {*JSON_LINES, *SQLITE}:
        raise ConfigError(
            f"a decision log is JSON lines ({', '.join(JSON_LINES)}) or SQLite ({', '.join(SQLITE)}); got {str(path)!r}"
        )
    return suffix in SQLITE


def _in_utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def _why(error: Exception) -> str:
    """What went wrong, without the path: it is said beside it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
