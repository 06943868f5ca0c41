"""Checkpointers by name: where runs that wait for a person are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from ..errors import ConfigError, MissingExtraError

POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
BUSY_SECONDS = 10.0
"""How long to wait for another process that writes, or answers."""


def open_saver(place: str | Path) -> BaseCheckpointSaver[Any]:
    """Opens a checkpointer; its tables are made where there are none.

    Args:
        place: A file for SQLite (``review.db`` or ``sqlite:///review.db``; extra ``review``), or
            ``postgresql://user@host/database`` (extra ``postgres``).

    Raises:
        ConfigError: it cannot be opened, or is of another kind.
        MissingExtraError: LangGraph's checkpointer for it is not installed.
    """
    scheme, is_url, rest = str(place).partition("://") if isinstance(place, str) else ("", "", "")
    if is_url and scheme in POSTGRES:
        return _open_postgres(f"postgresql://{rest}")
    if is_url and scheme != "sqlite":
        raise ConfigError(
            f"a checkpointer is a file for SQLite, 'sqlite:///FILE' or 'postgresql://USER@HOST/DATABASE', got "
            f"{scheme + '://...'!r}; for another database give LangGraph's checkpointer object"
        )
    name = rest.removeprefix("/") if is_url else str(place)
    if not name or Path(name).is_dir():
        raise ConfigError(f"a checkpointer needs the name of a file, got {str(place)!r}; for example 'review.db'")
    try:
        from .sqlite_saver import SqliteQueue
    except ImportError:
        raise MissingExtraError("langgraph-checkpoint-sqlite", "review") from None
    return SqliteQueue(Path(name).expanduser().absolute())


def _open_postgres(url: str) -> BaseCheckpointSaver[Any]:
    try:
        from .postgres_saver import PostgresQueue
    except ImportError:
        raise MissingExtraError("langgraph-checkpoint-postgres", "postgres") from None
    return PostgresQueue(url)


class MemoryQueue(InMemorySaver):
    """LangGraph's checkpointer in memory, for many runs that wait: what is done to one does not go over all of them."""

    def list(
        self, config: RunnableConfig | None, *, limit: int | None = None, **wanted: Any
    ) -> Iterator[CheckpointTuple]:
        """See :meth:`BaseCheckpointSaver.list`; other threads may begin runs meanwhile."""
        every: list[RunnableConfig] = [{"configurable": {"thread_id": thread}} for thread in tuple(self.storage)]
        threads = [config] if config else every
        found = (one for thread in threads for one in super(MemoryQueue, self).list(thread, **wanted))
        return islice(found, limit)

    def delete_thread(self, thread_id: str) -> None:
        """See :meth:`BaseCheckpointSaver.delete_thread`."""
        for namespace, checkpoints in self.storage.pop(thread_id, {}).items():
            for checkpoint_id, (checkpoint, _, _) in checkpoints.items():
                self.writes.pop((thread_id, namespace, checkpoint_id), None)
                for channel, version in self.serde.loads_typed(checkpoint)["channel_versions"].items():
                    self.blobs.pop((thread_id, namespace, channel, version), None)


class InThreads(BaseCheckpointSaver[Any]):
    """The asynchronous methods of a synchronous checkpointer, each in a thread."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See :meth:`get_tuple`."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **wanted: Any) -> AsyncIterator[CheckpointTuple]:
        """See :meth:`list`."""
        for found in await asyncio.to_thread(lambda: tuple(self.list(config, **wanted))):
            yield found

    async def aput(self, *args: Any) -> RunnableConfig:
        """See :meth:`put`."""
        return await asyncio.to_thread(self.put, *args)

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        """See :meth:`put_writes`."""
        await asyncio.to_thread(self.put_writes, *args, **options)

    async def adelete_thread(self, thread_id: str) -> None:
        """See :meth:`delete_thread`."""
        await asyncio.to_thread(self.delete_thread, thread_id)
