"""LangGraph's PostgreSQL checkpointer, for several threads, coroutines and processes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from ..errors import ConfigError, StoreError
from .savers import BUSY_SECONDS, InThreads


class PostgresQueue(InThreads, PostgresSaver):
    """Keeps runs in PostgreSQL.

    Args:
        url: As libpq reads it.

    Raises:
        ConfigError: the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.place = f"{parts.hostname or 'localhost'}{parts.path}"
        self._pool: ConnectionPool[Any] = ConnectionPool(
            url,
            min_size=0,
            max_size=8,
            timeout=BUSY_SECONDS,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
            configure=_configure,
            check=ConnectionPool.check_connection,  # the server may have been started anew since
            open=False,
        )
        try:
            psycopg.connect(url, connect_timeout=int(BUSY_SECONDS)).close()  # the pool would only say that it waited
            self._pool.open()
            super().__init__(self._pool)
            self.setup()
        except (psycopg.Error, StoreError) as error:
            self._pool.close()
            why = str(error).strip().splitlines()[0]
            raise ConfigError(f"cannot open the queue in PostgreSQL at {self.place}: {why}") from None
        weakref.finalize(self, self._pool.close)

    @contextmanager
    def exclusive(self, thread: str) -> Iterator[None]:
        """Keeps other processes from answering the same run meanwhile."""
        with self._doing(), self._pool.connection() as connection:
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"healdag {thread}",))
            try:
                yield
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (f"healdag {thread}",))

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Any]:
        with self._doing(), super()._cursor(pipeline=pipeline) as cursor:
            yield cursor

    @contextmanager
    def _doing(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, PoolTimeout) as error:
            why = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise StoreError(
                f"cannot use the queue in PostgreSQL at {self.place}: {why}; see that it can be reached, then try again"
            ) from error


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"SET lock_timeout = '{BUSY_SECONDS:g}s'")
