"""Puts the answer together: label, its calibrated probability, who gave it, and everything that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..predictors import decide
from .records import AnswerDict, Row, standing, top


@dataclass(frozen=True)
class Finalize:
    """Writes results, and for one text final_label, confidence and source.

    Attributes:
        labels: Label of each column.
        model_version: Task and version of the artefact.
        thresholds: One per label, see :func:`healdag.predictors.decide`; None: the likeliest.
    """

    labels: tuple[str, ...]
    model_version: str
    thresholds: tuple[float, ...] | None = None

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
        label, confidence = (None, None) if row is None or pending else self._name(row)
        return {
            "text": state["raw"][i],
            "final_label": label,
            "confidence": confidence,
            "source": source,
            "probabilities": {} if row is None else dict(zip(self.labels, row, strict=True)),
            "reasons": list((state.get("reasons") or [[]] * (i + 1))[i]),
            "sarcasm": (state.get("sarcasm") or [None] * (i + 1))[i],
            "attempts": [self._show(attempt, accepted=attempt["by"] == by) for attempt in attempts],
            "decision_id": state["ids"][i],
            "model_version": self.model_version,
        }

    def _decide(self, state: Any, i: int) -> tuple[Row | None, str, str]:
        """Probabilities, who they are from, and the source."""
        if state["remembered"][i] is not None:
            return self._certain(state["remembered"][i]), "memory", "memory"
        if state["emoji"][i] is not None:
            return state["emoji"][i], "emoji", "emoji"
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            return self._certain(answer), "human", "human"
        row, by = standing(state, i)
        if row is None:
            return None, "", "abstain"  # nothing could answer: said, not guessed
        first = state["primary"][i]["probabilities"]
        # The source is who first gave the label: a backup that confirms it sharpens the confidence, no more.
        same = first is not None and self._name(first)[0] == self._name(row)[0]
        return row, by, "model" if same else "backup"

    def _attempts(self, state: Any, i: int) -> list[AnswerDict]:
        if state["remembered"][i] is not None:
            return [{"by": "memory", "probabilities": self._certain(state["remembered"][i]), "ms": 0.0, "error": None}]
        if state["emoji"][i] is not None:
            return [{"by": "emoji", "probabilities": state["emoji"][i], "ms": 0.0, "error": None}]
        backups = (state.get("backup") or [None] * (i + 1))[i]
        attempts: list[AnswerDict] = [state["primary"][i], *(backups["attempts"] if backups else [])]
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            attempts.append({"by": "human", "probabilities": self._certain(answer), "ms": 0.0, "error": None})
        return attempts

    def _certain(self, label: str) -> Row:
        """A person's answer is taken for the truth."""
        return [1.0 if name == label else 0.0 for name in self.labels]

    def _name(self, row: Row) -> tuple[str, float]:
        column, confidence = top(row)
        if self.thresholds is not None:
            column = int(decide(np.array([row]), self.thresholds)[0])
            confidence = row[column]
        return self.labels[column], confidence

    def _show(self, attempt: AnswerDict, *, accepted: bool) -> dict[str, Any]:
        row = attempt["probabilities"]
        label, confidence = (None, None) if row is None else self._name(row)
        return {
            "by": attempt["by"],
            "label": label,
            "confidence": confidence,
            "ms": attempt["ms"],
            "accepted": accepted and row is not None,
            "error": attempt["error"],
        }
