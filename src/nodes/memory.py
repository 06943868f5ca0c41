"""Looks up whether a person has corrected this very text before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Op


@dataclass(frozen=True)
class Memory:
    """Writes remembered.

    Attributes:
        store: Any LangGraph store.
        task: Corrections are kept apart by task.
        labels: Corrections to other labels (of an earlier model) are passed over.
    """

    store: BaseStore
    task: str
    labels: tuple[str, ...]

    def __call__(self, state: Any) -> dict[str, Any]:
        """One look-up per text, in one batch."""
        operations: list[Op] = [GetOp(namespace(self.task), memory_key(text)) for text in state["clean"]]
        found = self.store.batch(operations)
        labels = [None if item is None else item.value.get("label") for item in found]  # type: ignore[union-attr]
        return {"remembered": [label if label in self.labels else None for label in labels]}

    def remember(self, text: str, label: str, by: str | None) -> None:
        """Keeps a correction of a cleaned text; a later one replaces it."""
        self.store.put(namespace(self.task), memory_key(text), {"label": label, "by": by})


def namespace(task: str) -> tuple[str, ...]:
    """Where a task's corrections are kept in the store."""
    return ("healdag", task, "corrections")


def memory_key(clean: str) -> str:
    """Key of a cleaned text: letter case does not matter. Texts themselves are not stored."""
    return hashlib.sha256(clean.casefold().encode()).hexdigest()
