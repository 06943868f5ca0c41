"""Where a classifier's feedback goes; nothing is opened, and no database is imported, before it is needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError

if TYPE_CHECKING:
    from .feedback import FeedbackStore

IN_MEMORY = ":memory:"


class FeedbackPlace:
    """A feedback store that is opened when it is first asked for. Safe to share between threads.

    Args:
        place: A store, or what :meth:`healdag.store.FeedbackStore.open` takes; None for one in memory.
        text: Whether corrected texts are kept, see there.

    Raises:
        ConfigError: another kind of place.
    """

    def __init__(
        self, place: FeedbackStore | str | Path | None = None, *, text: Literal["store", "hash"] = "hash"
    ) -> None:
        self._lock = threading.Lock()
        self._place: str | Path = IN_MEMORY
        self._text = text
        self.opened: FeedbackStore | None = None
        """The store; None as long as it was not needed."""
        if isinstance(place, str | Path):
            self._place = place
        elif place is not None:
            from .feedback import FeedbackStore

            if not isinstance(place, FeedbackStore):
                raise ConfigError(f"feedback is a path, a URL or a FeedbackStore; got {type(place).__name__}")
            self.opened = place

    def open(self) -> FeedbackStore:
        """The store, opened now if it was not yet.

        Raises:
            ConfigError: it cannot be opened.
            MissingExtraError: the database's driver is not installed.
        """
        with self._lock:
            if self.opened is None:
                from .feedback import FeedbackStore

                self.opened = FeedbackStore.open(self._place, text=self._text)
            return self.opened
