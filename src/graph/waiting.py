"""The runs that wait for a person, as a checkpointer keeps them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from ..nodes import RUN_PREFIX
from ..schema import Question

MARK = "healdag"
"""Key of a checkpoint's metadata: the task of the classifier whose run it is."""
_INTERRUPT, _RESUME = "__interrupt__", "__resume__"

log = logging.getLogger("healdag")
_locks: WeakKeyDictionary[BaseCheckpointSaver[Any], threading.Lock] = WeakKeyDictionary()
_locking = threading.Lock()


@dataclass(frozen=True)
class Run:
    """A run that waits.

    Attributes:
        thread: LangGraph's thread.
        questions: Those that wait, by decision id, as the node review asks them.
        answered: Ids of the decisions that have been answered meanwhile.
        asked: Since when it waits.
    """

    thread: str
    asked: datetime
    questions: dict[str, dict[str, Any]]
    answered: set[str] = field(default_factory=set)

    @property
    def own(self) -> bool:
        """Whether the classifier began it, and not a caller with a thread of his own."""
        return self.thread.startswith(RUN_PREFIX)

    def to_questions(self) -> list[Question]:
        """Its questions."""
        return [Question(**{"asked": self.asked, **question}) for question in self.questions.values()]


def thread_config(thread: str) -> RunnableConfig:
    """The configuration that leads to a thread."""
    return {"configurable": {"thread_id": thread}}


def waiting_runs(saver: BaseCheckpointSaver[Any], task: str) -> list[Run]:
    """All runs of a task that wait, also those of other processes.

    Runs of a classifier that have ended, but were not deleted (a process that was killed just then, or a resume that
    was given to the graph), are deleted on the way.
    """
    newest: dict[str, CheckpointTuple] = {}
    for found in saver.list(None, filter={MARK: task}):
        place = found.config["configurable"]
        if not place.get("checkpoint_ns"):  # otherwise a node of someone else's graph, which is not ours to resume
            kept = newest.setdefault(place["thread_id"], found)
            if kept.config["configurable"]["checkpoint_id"] < place["checkpoint_id"]:
                newest[place["thread_id"]] = found
    runs = []
    for found in newest.values():
        run = _read(found)
        if run.questions:
            runs.append(run)
        elif run.own and found.checkpoint["channel_values"].get("results"):
            forget(saver, run.thread)
    return runs


def find_run(saver: BaseCheckpointSaver[Any], task: str, decision_id: str) -> Run | None:
    """The run in which a decision waits, or has been answered while others still wait; None where there is none."""
    thread = decision_id.rpartition(".")[0]
    found = saver.get_tuple(thread_config(thread)) if thread.startswith(RUN_PREFIX) else None
    # The id leads to the thread, unless a caller chose that.
    runs = [_read(found)] if found is not None else waiting_runs(saver, task)
    return next((run for run in runs if decision_id in {*run.questions, *run.answered} and run.questions), None)


def forget(saver: BaseCheckpointSaver[Any], thread: str) -> None:
    """Deletes a run that has ended; what goes wrong costs room, never an answer."""
    try:
        saver.delete_thread(thread)
    except Exception as error:
        log.warning("cannot delete the finished run %s: %s", thread, error)


async def aforget(saver: BaseCheckpointSaver[Any], thread: str) -> None:
    """Like :func:`forget`."""
    try:
        await saver.adelete_thread(thread)
    except Exception as error:
        log.warning("cannot delete the finished run %s: %s", thread, error)


@contextmanager
def hold(saver: BaseCheckpointSaver[Any], thread: str) -> Iterator[None]:
    """One answer at a time: of two to one run at once, the later would be kept and the other one lost.

    It holds between threads; between processes with the checkpointers of :func:`healdag.graph.savers.open_saver`.
    """
    with _locking:
        lock = _locks.setdefault(saver, threading.Lock())
    exclusive = getattr(saver, "exclusive", None)
    with lock, nullcontext() if exclusive is None else exclusive(thread):
        yield


def _read(found: CheckpointTuple) -> Run:
    questions: dict[str, dict[str, Any]] = {}
    answered: set[str] = set()
    for _, channel, value in found.pending_writes or ():
        if channel == _INTERRUPT:
            questions.update({question["decision_id"]: question for stop in value for question in stop.value})
        elif channel == _RESUME:
            for given in value if isinstance(value, list) else [value]:
                answered.update(given if isinstance(given, dict) else ())
    thread = str(found.config["configurable"]["thread_id"])
    return Run(thread, datetime.fromisoformat(found.checkpoint["ts"]), questions, answered - set(questions))
