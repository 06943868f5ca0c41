"""Reads the texts: checks them, turns emoji into words, answers emoji-only texts from the lexicon."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig

from ..errors import InputError
from ..predictors import Predictor, ask
from ..text import check_text, prepare
from .records import AskerDict

RUN_PREFIX = "run-"
_EMPTY: dict[str, Any] = {
    "condensed": [],
    "condensing": [],
    "primary": [],
    "recalled": [],
    "whole": [],
    "unreadable": [],
    "unfamiliar": [],
    "suspicion": [],
    "sarcasm": [],
    "reasons": [],
    "backup": [],
    "answers": {},
    "results": [],
    "final_label": None,
    "confidence": None,
    "source": None,
}
"""What the nodes after this one write, as before a run."""


@dataclass(frozen=True)
class Preprocess:
    """Writes raw, single, clean, foreign, emoji, ids and asker; empties what an earlier run on the same thread left.

    Attributes:
        lexicon: Answers emoji-only texts; None where the task's labels are not emotions.
        max_chars: Longest text that is read, in characters.
        asker: The model, kept with the run, which may wait for longer than the model is in use.
    """

    lexicon: Predictor | None
    max_chars: int
    asker: AskerDict

    def __call__(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        """Raises InputError for a text that cannot be classified, with its index if there are several."""
        single = state.get("texts") is None
        if single and "text" not in state:
            raise InputError('the graph takes {"text": "..."} or {"texts": ["...", ...]}; got neither')
        given = [state["text"]] if single else list(state["texts"])
        raw = [check_text(t, max_chars=self.max_chars, index=None if single else i) for i, t in enumerate(given)]
        prepared = [prepare(text) for text in raw]
        emoji: list[list[float] | None] = [None] * len(raw)
        only = [i for i, p in enumerate(prepared) if p.emoji_only] if self.lexicon is not None else []
        if self.lexicon is not None and only:
            for i, row in zip(only, ask(self.lexicon, [raw[i] for i in only]).rows, strict=True):
                emoji[i] = row
        run = _run_id(config)
        return {
            # A thread that is used again still holds its last run; a node that is passed by would not overwrite it.
            **{key: empty for key, empty in _EMPTY.items() if key in state},
            "raw": raw,
            "single": single,
            "clean": [p.clean for p in prepared],
            "foreign": [p.foreign for p in prepared],
            "emoji": emoji,
            "ids": [f"{run}.{i}" for i in range(len(raw))],
            "asker": self.asker,
        }


def _run_id(config: RunnableConfig) -> str:
    """The thread's id where the classifier chose it, so that a decision id leads back to its thread.

    Never 32 hexadecimal digits: LangGraph would take such a key of a resume for an interrupt's id.
    """
    thread = str((config.get("configurable") or {}).get("thread_id", ""))
    return thread if thread.startswith(RUN_PREFIX) else f"{RUN_PREFIX}{uuid.uuid4().hex[:20]}"
