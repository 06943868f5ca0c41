"""Puts the answer together: label, its calibrated probability, who gave it, and everything that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decider import Decider
from .records import EMOJI, AnswerDict, Label, Row, doubts, standing

_PEOPLE = ("memory", "human")


@dataclass(frozen=True)
class Finalize:
    """Writes results, and for one text final_label, confidence and source.

    Attributes:
        decider: What an answer is, and how sure.
        model_version: Task and version of the artefact.
    """

    decider: Decider
    model_version: str

    def __call__(self, state: Any) -> dict[str, Any]:
        """Results in the form of :class:`healdag.schema.Classification`, as plain dictionaries."""
        results = [self.result(state, i) for i in range(len(state["raw"]))]
        if not state["single"]:
            return {"results": results}
        only = results[0]
        return {"results": results, **{key: only[key] for key in ("final_label", "confidence", "source")}}

    def result(self, state: Any, i: int, *, pending: bool = False) -> dict[str, Any]:
        """One row's result; ``pending`` for a row that waits for a person."""
        attempts = self._attempts(state, i)
        row, by, source = self._decide(state, i)
        if pending:
            by, source = "", "pending"
        shown = [self._show(attempt, accepted=attempt["by"] == by) for attempt in attempts]
        given = row is not None and not pending and source != "abstain"
        label, confidence = self._name(row, by) if row is not None and given else (None, None)
        if given and by not in _PEOPLE:
            confidence = state["trust"][i]
        return {
            "text": state["raw"][i],
            "final_label": label,
            "confidence": confidence,
            "source": source,
            "probabilities": {} if row is None else dict(zip(self.decider.labels, row, strict=True)),
            "label_set": (state.get("label_sets") or [None] * (i + 1))[i],
            "reasons": doubts(state, i),
            "sarcasm": (state.get("sarcasm") or [None] * (i + 1))[i],
            "unfamiliar": (state.get("unfamiliar") or [None] * (i + 1))[i],
            "attempts": shown,
            "decision_id": state["ids"][i],
            "model_version": self.model_version,
        }

    def _decide(self, state: Any, i: int) -> tuple[Row | None, str, str]:
        """Probabilities, who they are from, and the source."""
        if state["remembered"][i] is not None:
            return self.decider.certain(state["remembered"][i]), "memory", "memory"
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            return self.decider.certain(answer), "human", "human"
        row, by = standing(state, i)
        if row is None:
            return None, "", "abstain"  # nothing could answer: said, not guessed
        if not state["accepted"][i]:
            return row, "", "abstain"
        if by == EMOJI:
            return row, EMOJI, "emoji"
        first = state["primary"][i]["probabilities"]
        # The source is who first gave the label: a backup that confirms it sharpens the confidence, no more.
        same = first is not None and self.decider.name(first)[0] == self.decider.name(row)[0]
        return row, by, "model" if same else "backup"

    def _attempts(self, state: Any, i: int) -> list[AnswerDict]:
        if state["remembered"][i] is not None:
            return [_given("memory", self.decider.certain(state["remembered"][i]))]
        if state["emoji"][i] is not None:
            return [_given("emoji", state["emoji"][i])]
        backups = (state.get("backup") or [None] * (i + 1))[i]
        condensing = (state.get("condensing") or [None] * (i + 1))[i]
        attempts: list[AnswerDict] = [state["primary"][i], *(backups["attempts"] if backups else [])]
        if condensing is not None:
            attempts.insert(0, condensing)
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            attempts.append(_given("human", self.decider.certain(answer)))
        return attempts

    def _name(self, row: Row, by: str) -> tuple[Label, float]:
        label, confidence = self.decider.name(row)
        return label, 1.0 if by in _PEOPLE else confidence  # a fitted confidence of lists never quite reaches 1

    def _show(self, attempt: AnswerDict, *, accepted: bool) -> dict[str, Any]:
        row = attempt["probabilities"]
        label, confidence = (None, None) if row is None else self._name(row, attempt["by"])
        return {
            "by": attempt["by"],
            "label": label,
            "confidence": confidence,
            "ms": attempt["ms"],
            "accepted": accepted and row is not None,
            "error": attempt["error"],
        }


def _given(by: str, row: Row) -> AnswerDict:
    """An answer for which no model was asked."""
    return {"by": by, "probabilities": row, "ms": 0.0, "error": None}
