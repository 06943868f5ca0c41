"""Looks up whether a person has corrected this very text before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Op

from .decider import Decider
from .records import Label


@dataclass(frozen=True)
class Memory:
    """Writes remembered.

    Attributes:
        store: Any LangGraph store.
        task: Corrections are kept apart by task.
        decider: Corrections to other labels, or of the other form, are passed over: they are of another model. A list
            of labels holds for a restricted classifier as far as its labels go, and for another one only where all of
            its labels had been to choose from.
    """

    store: BaseStore
    task: str
    decider: Decider

    def __call__(self, state: Any) -> dict[str, Any]:
        """One look-up per text, in one batch."""
        operations: list[Op] = [GetOp(namespace(self.task), memory_key(text)) for text in state["clean"]]
        found = self.store.batch(operations)
        return {"remembered": [None if item is None else self._usable(item.value) for item in found]}  # type: ignore[union-attr]

    def remember(self, text: str, label: Label, by: str | None) -> None:
        """Keeps a correction of a cleaned text; a later one replaces it."""
        value: dict[str, Any] = {"label": label, "by": by}
        if self.decider.multi_label:
            value["labels"] = list(self.decider.labels)
        self.store.put(namespace(self.task), memory_key(text), value)

    def _usable(self, value: dict[str, Any]) -> Label | None:
        label = value.get("label")
        if self.decider.multi_label and isinstance(label, list):
            judged = value.get("labels", [])
            if not set(self.decider.labels) <= set(judged):
                return None
            label = [name for name in label if name in self.decider.labels]
        return self.decider.check(label) if self.decider.accepts(label) else None


def namespace(task: str) -> tuple[str, ...]:
    """Where a task's corrections are kept in the store."""
    return ("healdag", task, "corrections")


def memory_key(clean: str) -> str:
    """Key of a cleaned text: letter case does not matter. Texts themselves are not stored."""
    return hashlib.sha256(clean.casefold().encode()).hexdigest()
