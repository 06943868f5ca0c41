"""Looks for sarcasm in every open text, however sure the primary is: a confident wrong "joy" is the usual harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..predictors import Predictor, Screen, ask
from .records import pending_rows

SARCASTIC = "sarcastic"


@dataclass(frozen=True)
class Sarcasm:
    """Writes sarcasm.

    Attributes:
        detector: A predictor with the label 'sarcastic'; None where sarcasm cannot change the task's answer.
        screen: Tells from the primary's pass of which texts the detector would say no; those it is not asked about,
            and what stands is what the screen says. None asks about all.
    """

    detector: Predictor | None
    screen: Screen | None = None

    def __call__(self, state: Any) -> dict[str, Any]:
        """A text that the detector cannot answer keeps None, and its answer stands without it."""
        found: list[float | None] = [None] * len(state["clean"])
        if self.detector is None:
            return {"sarcasm": found}
        rows = []
        for i in pending_rows(state):
            told = None if self.screen is None else state["suspicion"][i]
            if state["unreadable"][i] >= 1.0:
                continue  # a text in a script that the detector cannot read is no evidence of sarcasm
            if self.screen is not None and told is not None and told < self.screen.threshold:
                found[i] = told
            else:
                rows.append(i)
        if rows:
            column = self.detector.labels.index(SARCASTIC)
            for i, row in zip(rows, ask(self.detector, [state["clean"][i] for i in rows]).rows, strict=True):
                found[i] = None if row is None else row[column]
        return {"sarcasm": found}
