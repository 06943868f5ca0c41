"""Pauses for a person, where the answer is doubtful even after the backups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from langgraph.types import interrupt

from .decider import Decider
from .records import Label, Row, doubts, standing

SHOWN = 3
"""How many of the likeliest labels a question names."""


@dataclass(frozen=True)
class Review:
    """Writes answers.

    A run may wait for long, and go on under another model. What is asked, and what may be answered, therefore goes by
    the state alone: by the model that the run began with.
    """

    def needed(self, state: Any) -> list[int]:
        """Rows that a person has to look at.

        A doubted row whose standing answer is right with less probability than the asker's threshold needs one; so
        does every row whose answer does not keep the error budget.
        """
        threshold = state["asker"]["review_threshold"]
        doubted = state.get("reasons") or [[]] * len(state["clean"])

        def doubtful(i: int) -> bool:
            sure = state["trust"][i]
            return not state["accepted"][i] or (bool(doubted[i]) and (sure is None or sure < threshold))

        return [i for i in range(len(doubted)) if doubtful(i)]

    def __call__(self, state: Any) -> dict[str, Any]:
        """Interrupts until every question is answered; ``Command(resume={decision_id: label})`` may answer some.

        In a multi-label task an answer is the list of labels that apply, or []. An answer of None takes back an
        earlier one, as long as other questions of the run wait.

        An answer to another question or with another label is not taken, and the question is asked again.
        """
        decider = Decider.of_run(state)
        questions = {state["ids"][i]: _question(state, i, decider) for i in self.needed(state)}
        answers: dict[str, Label] = {}
        while len(answers) < len(questions):
            given = interrupt([question for key, question in questions.items() if key not in answers])
            for key, value in given.items() if isinstance(given, dict) else ():
                if key in questions and value is None:
                    answers.pop(key, None)
                elif key in questions and decider.accepts(value):
                    answers[key] = decider.check(value)
        return {"answers": answers}


def uncertainty(row: Row | None, *, multi_label: bool) -> float:
    """How little a row of probabilities says: its entropy, as a share of the largest possible one, 0 to 1.

    In a multi-label task it is the mean over the labels; without a row, 1.
    """
    if row is None:
        return 1.0
    if multi_label:
        return sum(_entropy([p, 1 - p]) for p in row) / (len(row) * math.log(2))
    return _entropy(row) / math.log(len(row))


def _entropy(row: Row) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


def _question(state: Any, i: int, decider: Decider) -> dict[str, Any]:
    probabilities, _ = standing(state, i)
    shown = zip(decider.labels, probabilities, strict=True) if probabilities else []
    ranked = sorted(shown, key=lambda pair: -pair[1])
    return {
        "decision_id": state["ids"][i],
        "text": state["raw"][i],
        "top": [{"label": label, "probability": p} for label, p in ranked[:SHOWN]],
        "reasons": doubts(state, i),
        "labels": list(decider.labels),
        "multi_label": decider.multi_label,
        "uncertainty": uncertainty(probabilities, multi_label=decider.multi_label),
        "model_version": state["asker"]["model_version"],
    }
