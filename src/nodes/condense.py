"""Says texts that are longer than the primary's window in fewer words, for the primary to read. Off by default."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..predictors import Predictor
from ..summarizer import Condenser
from ..text import clean_text
from .records import AnswerDict, pending_rows

CONDENSER = "condenser"
WINDOW_WORDS = 100  # about as many as the usual 128 tokens hold

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Condense:
    """Writes condensed and condensing.

    Only what classify reads changes: the sarcasm detector, the backups and the memory go on with the text itself.

    Attributes:
        condenser: Who shortens.
        primary: Whose window decides: its ``exceeds_window(texts)``, or 100 words where it has none.
    """

    condenser: Condenser
    primary: Predictor

    def __call__(self, state: Any) -> dict[str, Any]:
        """A condenser that fails leaves the text as it is; its error is in the attempts."""
        condensed: list[str | None] = [None] * len(state["clean"])
        condensing: list[AnswerDict | None] = [None] * len(state["clean"])
        rows = pending_rows(state)
        texts = [state["clean"][i] for i in rows]
        rows = [i for i, exceeds in zip(rows, self._exceeds(texts), strict=True) if exceeds]
        if not rows:
            return {"condensed": condensed, "condensing": condensing}
        start = time.perf_counter()
        said = self._condense([state["clean"][i] for i in rows])
        ms = (time.perf_counter() - start) * 1000 / len(rows)
        for i, (shorter, error) in zip(rows, said, strict=True):
            condensed[i] = shorter
            condensing[i] = {"by": CONDENSER, "probabilities": None, "ms": ms, "error": error}
        return {"condensed": condensed, "condensing": condensing}

    def _exceeds(self, texts: list[str]) -> Sequence[bool]:
        own = getattr(self.primary, "exceeds_window", None)
        return own(texts) if own is not None else [len(text.split()) > WINDOW_WORDS for text in texts]

    def _condense(self, texts: list[str]) -> list[tuple[str | None, str | None]]:
        """Per text the shorter one, or None and why not."""
        try:
            said = list(self.condenser.condense(texts))
        except Exception as error:  # a failing model costs the summary, never the answer
            log.warning("the condenser failed on %d texts: %s: %s", len(texts), type(error).__name__, error)
            return [(None, f"{type(error).__name__}: {error}")] * len(texts)
        if len(said) != len(texts):
            return [(None, f"gave {len(said)} summaries for {len(texts)} texts")] * len(texts)
        return [_checked(text, shorter) for text, shorter in zip(texts, said, strict=True)]


def _checked(text: str, shorter: Any) -> tuple[str | None, str | None]:
    if not isinstance(shorter, str):
        return None, f"gave a {type(shorter).__name__}, not a text"
    if not shorter.strip():
        return None, "gave an empty summary"
    clean = clean_text(shorter)
    return (clean, None) if len(clean) < len(text) else (None, "gave no shorter text")
