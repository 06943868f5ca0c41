"""The plain dictionaries that nodes hand to each other through the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import TypedDict

Row = list[float]
EMOJI = "emoji"
"""Who answers emoji-only texts."""
Label = str | list[str]
"""An answer: a label, or in a multi-label task the list of those that apply."""


class AnswerDict(TypedDict):
    """One predictor's answer to one text."""

    by: str
    probabilities: Row | None
    ms: float
    error: str | None


class BackupDict(TypedDict):
    """What the ladder of backups came to for one text."""

    probabilities: Row | None  # of the answer that stands after the ladder; None where the primary's stands
    by: str | None
    attempts: list[AnswerDict]


def top(row: Sequence[float]) -> tuple[int, float]:
    """Column and value of the largest probability."""
    value = max(row)
    return row.index(value), value


def pending_rows(state: Any) -> list[int]:
    """Rows that neither the emoji lexicon nor the memory has answered."""
    return [
        i for i, (e, m) in enumerate(zip(state["emoji"], state["remembered"], strict=True)) if e is None and m is None
    ]


def doubts(state: Any, i: int) -> list[str]:
    """Why a row's answer is doubted, and 'budget' where there is one that is not given."""
    reasons = list(state["reasons"][i]) if state.get("reasons") else []
    over_budget = not state["accepted"][i] and state["trust"][i] is not None
    return [*reasons, "budget"] if over_budget else reasons


def standing(state: Any, i: int) -> tuple[Row | None, str]:
    """The probabilities that stand for a row before a person is asked, and whose they are."""
    if state["emoji"][i] is not None:
        return state["emoji"][i], EMOJI
    backups = state.get("backup")
    backup = backups[i] if backups else None
    if backup is not None and backup["probabilities"] is not None:
        return backup["probabilities"], str(backup["by"])
    primary = state["primary"][i]
    return primary["probabilities"], primary["by"]
