"""Calls that come at the same time share a run: what arrives while one is under way makes up the next."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Generic, TypeVar

MAX_TEXTS = 64
MAX_CHARS = 16_384
PATIENCE = 1.0

Result = TypeVar("Result")


class _Call(Generic[Result]):
    """A text that waits for its result; compared by identity."""

    __slots__ = ("future", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.future: Future[Result] = Future()


class Batcher(Generic[Result]):
    """Runs texts of many callers, threads and coroutines of any event loop, in batches; no timer, no thread when idle.

    A caller who finds nobody runs its text at once and by itself. Whoever comes meanwhile waits for that run, and then
    all who wait go together, the longest waiting first.

    Args:
        run: Answers several texts, in order; called from several threads at once only when it is slow.
        max_texts: Texts in a batch.
        max_chars: Characters in a batch, so that a long text delays few others; one text may be longer.
        patience: Seconds without any progress after which a batch is started beside the one that is stuck, for
            example in a backup over a network.
    """

    def __init__(
        self,
        run: Callable[[list[str]], Sequence[Result]],
        *,
        max_texts: int = MAX_TEXTS,
        max_chars: int = MAX_CHARS,
        patience: float = PATIENCE,
    ) -> None:
        self._run = run
        self._max_texts = max_texts
        self._max_chars = max_chars
        self._patience = patience
        self.reset()
        if hasattr(os, "register_at_fork"):
            # The child of a fork has none of the threads, and maybe a lock that one of them held.
            os.register_at_fork(after_in_child=partial(_reset, weakref.ref(self)))

    def reset(self) -> None:
        """Forgets every call that waits."""
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Result]] = deque()
        self._running = 0
        self._progress = 0.0
        self._threads: ThreadPoolExecutor | None = None

    def call(self, text: str) -> Result:
        """The result of one text; raises what its run raised."""
        with self._lock:
            alone = not self._running
            if alone:
                self._running = 1
                self._progress = time.monotonic()
            else:
                call: _Call[Result] = _Call(text)
                self._waiting.append(call)
        if alone:
            try:
                return self._run([text])[0]
            finally:
                self._leave()
        while not wait((call.future,), self._patience).done:
            self._hurry(call)
        return call.future.result()

    async def acall(self, text: str) -> Result:
        """Like :meth:`call`, without blocking the event loop. A cancelled call leaves the others as they are."""
        call: _Call[Result] = _Call(text)
        with self._lock:
            self._waiting.append(call)
            first = not self._running
            if first:
                self._running = 1
                self._progress = time.monotonic()
        if first:
            self._start()
        future = asyncio.wrap_future(call.future)
        try:
            while not (await asyncio.wait((future,), timeout=self._patience))[0]:
                self._hurry(call)
        except asyncio.CancelledError:
            call.future.cancel()  # taken out of the next batch; one that runs goes on for the others in it
            future.cancel()
            raise
        return future.result()

    def _leave(self) -> None:
        """Ends a run that a caller made by itself; those who came meanwhile are next."""
        with self._lock:
            self._running -= 1
            starts = bool(self._waiting) and not self._running
            if starts:
                self._running = 1
                self._progress = time.monotonic()
        if starts:
            self._start()

    def _hurry(self, call: _Call[Result]) -> None:
        """Starts another batch for a call that still waits, where nothing has moved for a while."""
        with self._lock:
            stuck = call in self._waiting and time.monotonic() - self._progress >= self._patience
            if stuck:
                self._running += 1
                self._progress = time.monotonic()
        if stuck:
            self._start()

    def _start(self) -> None:
        try:
            with self._lock:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(64, thread_name_prefix="healdag-batch")
            self._threads.submit(self._drain)
        except RuntimeError:  # no more threads, as when the interpreter ends
            self._drain()

    def _drain(self) -> None:
        """Runs batches until nobody waits."""
        while batch := self._take():
            try:
                results = list(zip(batch, self._run([call.text for call in batch]), strict=True))
            except BaseException as error:  # the callers' to handle, each its own
                if len(batch) == 1:
                    batch[0].future.set_exception(error)
                else:
                    for call in batch:
                        self._answer_alone(call)
            else:
                for call, result in results:
                    call.future.set_result(result)

    def _take(self) -> list[_Call[Result]]:
        """The calls of the next batch; none where nobody waits any more, and then this thread is done."""
        batch: list[_Call[Result]] = []
        chars = 0
        with self._lock:
            self._progress = time.monotonic()
            while self._waiting and len(batch) < self._max_texts:
                chars += len(self._waiting[0].text)
                if batch and chars > self._max_chars:
                    break
                call = self._waiting.popleft()
                if call.future.set_running_or_notify_cancel():
                    batch.append(call)
            if not batch:
                self._running -= 1
        return batch

    def _answer_alone(self, call: _Call[Result]) -> None:
        try:
            call.future.set_result(self._run([call.text])[0])
        except BaseException as error:
            call.future.set_exception(error)


def _reset(own: weakref.ref[Batcher[Any]]) -> None:
    batcher = own()
    if batcher is not None:
        batcher.reset()
