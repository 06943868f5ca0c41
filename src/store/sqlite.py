"""Decisions in a SQLite database: the table ``decisions``."""

from __future__ import annotations

import json
import os
import sqlite3
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from .row import Decision

# label is for a single-label task, labels a JSON list for a multi-label one; the other lists are JSON too.
COLUMNS = {
    "id": "TEXT",
    "time": "TEXT",
    "label": "TEXT",
    "labels": "TEXT",
    "confidence": "REAL",
    "source": "TEXT",
    "reasons": "TEXT",
    "sarcasm": "REAL",
    "asked": "TEXT",
    "ms": "TEXT",
    "failed": "TEXT",
    "accepted": "TEXT",
    "model_version": "TEXT",
    "chars": "INTEGER",
    "text": "TEXT",
    "text_sha256": "TEXT",
    "unfamiliar": "REAL",
}
LATER = ("unfamiliar",)
"""Columns that databases from before do not have: added before they are written to, read as NULL."""
LISTS = ("labels", "reasons", "asked", "ms", "failed")
_CREATE = f"CREATE TABLE IF NOT EXISTS decisions ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"
_INSERT = f"INSERT INTO decisions ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"


class Sqlite:
    """A database to append to, in write-ahead mode: others can read meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connect()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows in one transaction; waits up to 5 s for another process that is writing."""
        # A connection must not be used in a forked process; and one whose file is gone would write to nowhere.
        if self._where != self._place():
            self._connect()
        with self._connection:
            self._connection.executemany(_INSERT, map(_flat, rows))

    def _connect(self) -> None:
        # Threads take turns: the log has a lock.
        connection = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
        try:
            with suppress(sqlite3.OperationalError):  # another process is just doing it
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # safe from a kill; a power cut may cost the last batches
            connection.execute(_CREATE)
            # A table of another form is an error now, not at the first row; and is left as it is.
            connection.execute(
                f"SELECT {', '.join(name for name in COLUMNS if name not in LATER)} FROM decisions LIMIT 0"
            )
            for name in _missing(connection):
                with suppress(sqlite3.OperationalError):  # another process is just doing it
                    connection.execute(f"ALTER TABLE decisions ADD COLUMN {name} {COLUMNS[name]}")
        except sqlite3.Error:
            connection.close()
            raise
        weakref.finalize(self, connection.close)
        self._connection, self._where = connection, self._place()

    def _place(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return os.getpid(), found.st_dev, found.st_ino


def read_sqlite(path: Path) -> Iterator[Decision | None]:
    """The decisions in order; None for a row that is none.

    Raises:
        sqlite3.Error: no database, no table of this form, or damaged.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        missing = _missing(connection)
        names = [f"NULL AS {name}" if name in missing else name for name in COLUMNS]
        for values in connection.execute(f"SELECT {', '.join(names)} FROM decisions ORDER BY rowid"):
            row = dict(zip(COLUMNS, values, strict=True))
            try:
                row.update({name: json.loads(row[name]) for name in LISTS if row[name] is not None})
                labels = row.pop("labels")
                yield Decision.model_validate(row if labels is None else {**row, "label": labels})
            except (TypeError, ValueError):  # pydantic's and json's errors are ValueErrors
                yield None


def _missing(connection: sqlite3.Connection) -> list[str]:
    """Which of the later columns the table does not have yet."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(decisions)")}
    return [name for name in LATER if name not in there]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as column values."""
    flat = {"text": None, "text_sha256": None, "labels": None, **row}
    if isinstance(flat["label"], list):
        flat["label"], flat["labels"] = None, flat["label"]
    lists = {name: json.dumps(flat[name], ensure_ascii=False) for name in LISTS if flat[name] is not None}
    return {**flat, **lists}
