"""A circuit breaker around a backup: one that keeps failing is left alone for a while, then tried once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..predictors import Answers

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker

SILENT = "could not answer"
"""The error of a row of NaN: the backup works and has nothing to say about that text."""

log = logging.getLogger("healdag")


class Circuit:
    """Counts a backup's failures in a row (Nygard 2007, "Release It!"); safe to share between threads.

    A call fails where not one of its texts was answered, and not because the backup had nothing to say about them:
    it raised, did not answer in time, or in the wrong form. After ``failures`` of them the circuit is open, and nobody
    waits for the backup. After ``seconds`` one call is let through: where it is answered the circuit is closed, else
    it is open for as long again. Meanwhile the others go without.

    Args:
        name: The backup's.
        failures: Failed calls in a row that open the circuit, 1 or more.
        seconds: How long it stays open.

    Attributes:
        skipped: Calls that were spared since the circuit was made.
    """

    def __init__(self, name: str, failures: int, seconds: float) -> None:
        from pybreaker import CircuitBreaker

        self.name = name
        self.skipped = 0
        self.breaker: CircuitBreaker = CircuitBreaker(
            fail_max=failures, reset_timeout=seconds, throw_new_error_on_trip=False, name=name
        )
        # The breaker lets every call through while the first of them tries: one is enough to wait in vain.
        self._trying = threading.Lock()

    @property
    def state(self) -> str:
        """``closed`` (it is asked), ``open`` (it is not) or ``half-open`` (one call tries)."""
        return self.breaker.current_state

    @property
    def failures(self) -> int:
        """Failed calls in a row."""
        return self.breaker.fail_counter

    def ask(self, n: int, ask: Callable[[], Answers]) -> Answers:
        """What ``ask`` answers to n texts; while the circuit is open no answers, with that as their error."""
        if self.state == "closed":
            return self._ask(n, ask)
        if not self._trying.acquire(blocking=False):
            return self._skip(n)
        try:
            return self._ask(n, ask)
        finally:
            self._trying.release()

    def _ask(self, n: int, ask: Callable[[], Answers]) -> Answers:
        from pybreaker import CircuitBreakerError

        before = self.state
        try:
            with self.breaker.calling():  # which, unlike call(), holds no lock meanwhile
                answers = ask()
                if _failed(answers):
                    raise _FailedError(answers)
        except CircuitBreakerError:
            return self._skip(n)
        except _FailedError as failed:
            answers = failed.answers
            if self.state == "open":
                log.warning(
                    "backup %r failed %d times in a row, last: %s; it is not asked for %g s",
                    *(self.name, max(self.failures, 1), next(filter(None, answers.errors)), self.breaker.reset_timeout),
                )
        else:
            if before != "closed":
                log.warning("backup %r answers again", self.name)
        return answers

    def _skip(self, n: int) -> Answers:
        self.skipped += 1
        return Answers.failed(n, f"circuit open: {self.breaker.fail_max} calls in a row had failed")

    def in_words(self) -> str:
        """The rule, and how it stands."""
        rule = (
            f"It is left out for {self.breaker.reset_timeout:g} s after {self.breaker.fail_max} failures in a row, "
            "then tried once"
        )
        if self.state == "closed" and not self.failures and not self.skipped:
            return f"{rule}."
        return f"{rule}; now its circuit is {self.state}, failures in a row: {self.failures}, spared: {self.skipped}."


class _FailedError(Exception):
    """Tells the breaker of a failure; never leaves this module."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers


def _failed(answers: Answers) -> bool:
    """Whether nothing was answered, for another reason than that the backup had nothing to say."""
    return all(row is None for row in answers.rows) and any(error not in (None, SILENT) for error in answers.errors)
