"""Pauses for a person, where the answer is doubtful even after the backups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.types import interrupt

from .decider import Decider
from .records import Label, standing


@dataclass(frozen=True)
class Review:
    """Writes answers.

    Attributes:
        decider: What may be answered, and how sure an answer is.
        threshold: A doubted row whose standing answer is below it needs a person.
    """

    decider: Decider
    threshold: float

    def needed(self, state: Any) -> list[int]:
        """Rows that a person has to look at."""
        rows = []
        for i, reasons in enumerate(state["reasons"]):
            probabilities, _ = standing(state, i) if reasons else (None, "")
            if reasons and (probabilities is None or self.decider.sureness(probabilities) < self.threshold):
                rows.append(i)
        return rows

    def __call__(self, state: Any) -> dict[str, Any]:
        """Interrupts until every question is answered; ``Command(resume={decision_id: label})`` may answer some.

        In a multi-label task an answer is the list of labels that apply, or [].

        An answer to another question or with another label is not taken, and the question is asked again.
        """
        questions = {state["ids"][i]: self._question(state, i) for i in self.needed(state)}
        answers: dict[str, Label] = {}
        while len(answers) < len(questions):
            given = interrupt([question for key, question in questions.items() if key not in answers])
            if isinstance(given, dict):
                taken = {k: v for k, v in given.items() if k in questions and self.decider.accepts(v)}
                answers.update({key: self.decider.check(value) for key, value in taken.items()})
        return {"answers": answers}

    def _question(self, state: Any, i: int) -> dict[str, Any]:
        probabilities, _ = standing(state, i)
        shown = zip(self.decider.labels, probabilities, strict=True) if probabilities else []
        ranked = sorted(shown, key=lambda pair: -pair[1])
        return {
            "decision_id": state["ids"][i],
            "text": state["raw"][i],
            "top": [{"label": label, "probability": p} for label, p in ranked[:3]],
            "reasons": state["reasons"][i],
            "labels": list(self.decider.labels),
            "multi_label": self.decider.multi_label,
        }
