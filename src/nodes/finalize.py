"""Puts the answer together: label, its calibrated probability, who gave it, and everything that was tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .decider import Decider
from .records import EMOJI, MEMORY, AnswerDict, Label, MemoryDict, Row, doubts, first_of, memory_of, standing

_HUMAN = "human"


@dataclass(frozen=True)
class Finalize:
    """Writes results, and for one text final_label, confidence and source.

    Attributes:
        decider: What an answer is, and how sure.
        model_version: Task and version of the artefact.
        told: Is told of the results, so that they can be corrected by their ids; None: nobody is.
    """

    decider: Decider
    model_version: str
    told: Callable[[list[dict[str, Any]]], None] | None = None

    def __call__(self, state: Any) -> dict[str, Any]:
        """Results in the form of :class:`healdag.schema.Classification`, as plain dictionaries."""
        asker = self._asker(state)
        results = [asker._result(state, i, pending=False) for i in range(len(state["raw"]))]
        if self.told is not None:
            self.told(results)
        if not state["single"]:
            return {"results": results}
        only = results[0]
        return {"results": results, **{key: only[key] for key in ("final_label", "confidence", "source")}}

    def result(self, state: Any, i: int, *, pending: bool = False) -> dict[str, Any]:
        """One row's result; ``pending`` for a row that waits for a person."""
        return self._asker(state)._result(state, i, pending=pending)

    def _result(self, state: Any, i: int, *, pending: bool) -> dict[str, Any]:
        row, by, source = self._decide(state, i)
        if pending:
            by, source = "", "pending"
        known = memory_of(state, i)
        shown = [self._show(attempt, accepted=attempt["by"] == by) for attempt in self._attempts(state, i)]
        if known is not None:
            shown.insert(len(shown) - (by == _HUMAN), _show_memory(known, accepted=by == MEMORY))
        given = row is not None and not pending and source != "abstain"
        label, confidence = self._name(row, by) if row is not None and given else (None, None)
        if given and by != _HUMAN:
            confidence = state["trust"][i]
        if known is not None and by == MEMORY:
            label = known["label"]
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

    def _asker(self, state: Any) -> Finalize:
        """As the model does it that the run began with: another one may have been promoted while it waited."""
        decider, version = Decider.of_run(state), state["asker"]["model_version"]
        same = (decider, version) == (self.decider, self.model_version)
        return self if same else replace(self, decider=decider, model_version=version)

    def _decide(self, state: Any, i: int) -> tuple[Row | None, str, str]:
        """Probabilities, who they are from, and the source."""
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            return self.decider.certain(answer), _HUMAN, "human"
        row, by = standing(state, i)
        if row is None:
            return None, "", "abstain"  # nothing could answer: said, not guessed
        if not state["accepted"][i]:
            return row, "", "abstain"
        if by == MEMORY:
            return row, MEMORY, "memory"
        if by == EMOJI:
            return row, EMOJI, "emoji"
        if first_of(state, i) is not None:
            return row, by, "model"
        first = state["primary"][i]["probabilities"]
        # The source is who first gave the label: a backup that confirms it sharpens the confidence, no more.
        same = first is not None and self.decider.name(first)[0] == self.decider.name(row)[0]
        return row, by, "model" if same else "backup"

    def _attempts(self, state: Any, i: int) -> list[AnswerDict]:
        """Those of the models, and of a person who was asked; what the memory says is not among them."""
        if state["remembered"][i] is None and state["emoji"][i] is not None:
            return [_given(EMOJI, state["emoji"][i])]
        early = first_of(state, i)
        if early is not None:
            return [early]
        backups = (state.get("backup") or [None] * (i + 1))[i]
        condensing = (state.get("condensing") or [None] * (i + 1))[i]
        attempts: list[AnswerDict] = []
        if state["remembered"][i] is None:
            attempts = [state["primary"][i], *(backups["attempts"] if backups else [])]
        if condensing is not None:
            attempts.insert(0, condensing)
        answer = (state.get("answers") or {}).get(state["ids"][i])
        if answer is not None:
            attempts.append(_given(_HUMAN, self.decider.certain(answer)))
        return attempts

    def _name(self, row: Row, by: str) -> tuple[Label, float]:
        label, confidence = self.decider.name(row)
        return label, 1.0 if by == _HUMAN else confidence  # a fitted confidence of lists never quite reaches 1

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


def _show_memory(known: MemoryDict, *, accepted: bool) -> dict[str, Any]:
    shown = {name: value for name, value in known.items() if name != "probabilities"}
    return {"by": MEMORY, **shown, "accepted": accepted, "error": None}


def _given(by: str, row: Row) -> AnswerDict:
    """An answer for which no model was asked."""
    return {"by": by, "probabilities": row, "ms": 0.0, "error": None}
