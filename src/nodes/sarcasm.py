"""Looks for sarcasm in every open text, however sure the primary is: a confident wrong "joy" is the usual harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..predictors import Predictor, ask
from .records import pending_rows

SARCASTIC = "sarcastic"


@dataclass(frozen=True)
class Sarcasm:
    """Writes sarcasm.

    Attributes:
        detector: A predictor with the label 'sarcastic'; None where sarcasm cannot change the task's answer.
    """

    detector: Predictor | None

    def __call__(self, state: Any) -> dict[str, Any]:
        """A text that the detector cannot answer keeps None, and its answer stands without it."""
        found: list[float | None] = [None] * len(state["clean"])
        rows = pending_rows(state)
        if self.detector is None or not rows:
            return {"sarcasm": found}
        column = self.detector.labels.index(SARCASTIC)
        for i, row in zip(rows, ask(self.detector, [state["clean"][i] for i in rows]).rows, strict=True):
            # A text in a script that the detector cannot read is no evidence of sarcasm.
            found[i] = None if row is None or state["unreadable"][i] >= 1.0 else row[column]
        return {"sarcasm": found}
