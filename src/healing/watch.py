"""Heals whenever enough corrections have gathered, and takes back what does worse."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ..artifacts import root_of
from ..errors import HealdagError, LockedError, StoreError
from ..store.feedback import FeedbackStore
from .guard import GuardReport, guard
from .heal import heal, interrupted, opened, waiting
from .report import HealReport

log = logging.getLogger("healdag")


def watch(
    task: str,
    *,
    feedback: FeedbackStore | str | Path,
    models: str | Path | None = None,
    every: float = 60.0,
    at_least: int = 50,
    guarded: bool = True,
    stop: threading.Event | None = None,
    told: Callable[[HealReport | GuardReport], None] | None = None,
    rounds: int | None = None,
    **options: Any,
) -> int:
    """Looks every so often, until ``stop`` is set.

    A heal that is refused waits for ``at_least`` further corrections. One that fails, because of a full disk or another
    heal, is said in the log and tried again in the next round.

    Args:
        task: Its name.
        feedback: The store with the corrections, or its path or URL.
        models: Folder of models; by default the one that decides which version is in use.
        every: Seconds between two looks.
        at_least: New corrections that start a heal.
        guarded: Whether a healed version is rolled back where corrections show it worse, see :func:`.guard.guard`.
        stop: Ends it, once a heal that runs has ended.
        told: Is given each report of a heal that was tried, and of a rollback.
        rounds: Looks, at most; None: without end.
        options: For :func:`.heal.heal`.

    Returns:
        How many heals were tried.

    Raises:
        UsageError: no such task or store.
    """
    root = Path(models) if models is not None else root_of(task)
    stop = stop or threading.Event()
    store, ours = opened(feedback)
    tried = 0
    try:
        for _ in iter(int, 1) if rounds is None else range(rounds):
            if stop.is_set():
                break
            tried += _look(task, store, root, at_least, guarded, told, options)
            stop.wait(every)
    finally:
        if ours:
            store.close()
    return tried


def _look(
    task: str,
    store: FeedbackStore,
    root: Path,
    at_least: int,
    guarded: bool,
    told: Callable[[HealReport | GuardReport], None] | None,
    options: dict[str, Any],
) -> bool:
    """One round; whether a heal was tried."""
    try:
        if guarded:
            judged = guard(task, feedback=store, models=root, by=options.get("by"))
            if judged.outcome == "rolled_back" and told is not None:
                told(judged)
        if waiting(store, root / task) < at_least and interrupted(root / task, dry_run=True) is None:
            return False
        report = heal(task, feedback=store, models=root, at_least=at_least, **options)
        if told is not None:
            told(report)
        return True
    except (LockedError, StoreError, OSError) as error:  # it passes
        log.warning("%s: %s", task, error)
    except HealdagError as error:
        log.error("%s cannot be healed: %s", task, error)
    return False


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the block runs; a second signal does what it always does."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])
        log.warning("stopping; a heal that runs is finished first (once more to stop it at once)")

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            with suppress(ValueError):
                signal.signal(number, handler)
