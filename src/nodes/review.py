"""Pauses for a person, where the answer is doubtful even after the backups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.types import interrupt

from .decider import Decider
from .records import Label, doubts, standing


@dataclass(frozen=True)
class Review:
    """Writes answers.

    Attributes:
        decider: What may be answered, and how sure an answer is.
        threshold: A doubted row whose standing answer is right with less probability than this needs a person; so
            does every row whose answer does not keep the error budget.
    """

    decider: Decider
    threshold: float

    def needed(self, state: Any) -> list[int]:
        """Rows that a person has to look at."""
        doubted = state.get("reasons") or [[]] * len(state["clean"])

        def doubtful(i: int) -> bool:
            sure = state["trust"][i]
            return not state["accepted"][i] or (bool(doubted[i]) and (sure is None or sure < self.threshold))

        return [i for i in range(len(doubted)) if doubtful(i)]

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
            "reasons": doubts(state, i),
            "labels": list(self.decider.labels),
            "multi_label": self.decider.multi_label,
        }
