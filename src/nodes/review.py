"""Pauses for a person, where the answer is doubtful even after the backups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.types import interrupt

from .records import standing, top


@dataclass(frozen=True)
class Review:
    """Writes answers.

    Attributes:
        labels: What may be answered.
        threshold: A doubted row whose standing answer is below it needs a person.
    """

    labels: tuple[str, ...]
    threshold: float

    def needed(self, state: Any) -> list[int]:
        """Rows that a person has to look at."""
        rows = []
        for i, reasons in enumerate(state["reasons"]):
            probabilities, _ = standing(state, i) if reasons else (None, "")
            if reasons and (probabilities is None or top(probabilities)[1] < self.threshold):
                rows.append(i)
        return rows

    def __call__(self, state: Any) -> dict[str, Any]:
        """Interrupts until every question is answered; ``Command(resume={decision_id: label})`` may answer some.

        An answer to another question or with another label is not taken, and the question is asked again.
        """
        questions = {state["ids"][i]: self._question(state, i) for i in self.needed(state)}
        answers: dict[str, str] = {}
        while len(answers) < len(questions):
            given = interrupt([question for key, question in questions.items() if key not in answers])
            if isinstance(given, dict):
                answers.update({k: v for k, v in given.items() if k in questions and v in self.labels})
        return {"answers": answers}

    def _question(self, state: Any, i: int) -> dict[str, Any]:
        probabilities, _ = standing(state, i)
        ranked = sorted(zip(self.labels, probabilities, strict=True), key=lambda p: -p[1]) if probabilities else []
        return {
            "decision_id": state["ids"][i],
            "text": state["raw"][i],
            "top": [{"label": label, "probability": p} for label, p in ranked[:3]],
            "reasons": state["reasons"][i],
            "labels": list(self.labels),
        }
