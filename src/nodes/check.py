"""Decides which answers are doubtful, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decider import Decider
from .records import pending_rows

UNREADABLE_SHARE = 0.5  # "mostly": more than half of the text


@dataclass(frozen=True)
class Check:
    """Writes reasons.

    Attributes:
        decider: What an answer is, and how sure.
        threshold: An answer below this confidence is doubtful.
        sarcasm_threshold: From this probability on a text counts as sarcastic.
    """

    decider: Decider
    threshold: float
    sarcasm_threshold: float

    def __call__(self, state: Any) -> dict[str, Any]:
        """Reasons: model_error, low_confidence, sarcasm, unreadable, unfamiliar."""
        reasons: list[list[str]] = [[] for _ in state["clean"]]
        for i in pending_rows(state):
            row = state["primary"][i]["probabilities"]
            sarcasm = state["sarcasm"][i]
            if row is None:
                reasons[i].append("model_error")
            elif self.decider.sureness(row) < self.threshold:
                reasons[i].append("low_confidence")
            if sarcasm is not None and sarcasm >= self.sarcasm_threshold:
                reasons[i].append("sarcasm")
            if state["unreadable"][i] >= UNREADABLE_SHARE:
                reasons[i].append("unreadable")
            distance = state["unfamiliar"][i]
            if distance is not None and distance > 1.0:
                reasons[i].append("unfamiliar")
        return {"reasons": reasons}
