"""LangGraph's SQLite checkpointer, for several threads, coroutines and processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from langgraph.checkpoint.sqlite import SqliteSaver

from ..errors import ConfigError, StoreError
from .savers import BUSY_SECONDS, InThreads


class SqliteQueue(InThreads, SqliteSaver):
    """Keeps runs in a SQLite file; what was kept outlives the process, however it ends.

    Args:
        path: Absolute.
        busy: Seconds to wait for another process that writes, or answers.

    Attributes:
        path: As given.

    Raises:
        ConfigError: the file cannot be opened, or is no such database.
    """

    def __init__(self, path: Path, *, busy: float = BUSY_SECONDS) -> None:
        self.path = path
        self._busy = busy
        if not path.parent.is_dir():
            raise ConfigError(f"no folder {str(path.parent)!r} for the queue {path.name!r}; make it first")
        try:
            super().__init__(self._connect())
            with self.cursor() as cursor:
                cursor.execute("SELECT thread_id, metadata FROM checkpoints LIMIT 0")
        except (sqlite3.Error, StoreError) as error:
            why = error.__cause__ if isinstance(error, StoreError) else error
            raise ConfigError(
                f"cannot open the queue {str(path)!r}: {why}; give another file, or one that "
                "'healdag classify --queue' has made"
            ) from None

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """See :meth:`SqliteSaver.cursor`; a failure is a StoreError, and leaves nothing half done."""
        if self._where[0] != os.getpid():
            self.lock = threading.Lock()  # of a fork: another thread of its parent may have held it
        with self.lock:
            try:
                if self._where != self._place():
                    self._reconnect()
                self.setup()
                with closing(self.conn.cursor()) as cursor:
                    yield cursor
                    if transaction:
                        self.conn.commit()
            except sqlite3.Error as error:
                self._roll_back()
                advice = _advice(error, self._busy)
                raise StoreError(f"cannot use the queue {str(self.path)!r}: {error}{advice}") from error
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def exclusive(self, _thread: str) -> Iterator[None]:
        """Keeps other processes from answering meanwhile."""
        place = self.path.with_name(f"{self.path.name}.lock")
        try:
            lock = FileLock(place, timeout=self._busy).acquire()
        except Timeout:
            raise StoreError(
                f"another process has been answering in {str(self.path)!r} for more than {self._busy:g} seconds; try "
                "again when it has ended"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot write beside the queue {str(self.path)!r}: {error.strerror}") from error
        with lock:
            try:
                yield
            finally:
                with suppress(OSError):  # while it is held: whoever waits sees that it is gone, and makes a new one
                    place.unlink()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")  # safe from a kill; a power cut may cost the last runs
        self._where = self._place()
        self._close = weakref.finalize(self, connection.close)
        return connection

    def _reconnect(self) -> None:
        """A connection must not be used in a forked process; and one whose file is gone would write to nowhere."""
        if self._where[0] == os.getpid():
            self._close()
        else:
            self._close.detach()
            self._inherited = self.conn  # closing it here would take the parent's locks away
        self.conn = self._connect()
        self.is_setup = False

    def _place(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return os.getpid(), 0, 0
        return os.getpid(), found.st_dev, found.st_ino

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self.conn.rollback()


def _advice(error: sqlite3.Error, busy: float) -> str:
    said = str(error).lower()
    if "locked" in said or "busy" in said:
        return f", for more than {busy:g} seconds; end the process that holds it, then try again"
    if "full" in said or "disk i/o" in said:
        return "; make room on the disk, then try again"
    if "readonly" in said:
        return "; make the file and its folder writable"
    return "; see that it is there and that nothing else has written into it"
