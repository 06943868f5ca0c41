"""Asks a cheap model first: the texts that it is sure of need no larger one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..predictors import Predictor, ask
from .decider import Decider
from .records import AnswerDict, pending_rows


@dataclass(frozen=True)
class FirstStage:
    """Writes first: the answers that stand, which end their rows' way; None for the rows that go on.

    Attributes:
        predictor: The cheap model.
        decider: What an answer is, and how sure.
        threshold: From this confidence on its answer stands.
    """

    predictor: Predictor
    decider: Decider
    threshold: float

    def __call__(self, state: Any) -> dict[str, Any]:
        """A text that it fails on goes on like the others that it is not sure of, and so does one in another script."""
        found: list[AnswerDict | None] = [None] * len(state["clean"])
        rows = [i for i in pending_rows(state) if not state["foreign"][i]]
        if not rows:
            return {"first": found}
        answers = ask(self.predictor, [state["clean"][i] for i in rows])
        for i, row in zip(rows, answers.rows, strict=True):
            if row is not None and self.decider.sureness(row) >= self.threshold:
                found[i] = {"by": self.predictor.name, "probabilities": row, "ms": answers.ms, "error": None}
        return {"first": found}
