"""The plain dictionaries that nodes hand to each other through the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import TypedDict

Row = list[float]
EMOJI = "emoji"
"""Who answers emoji-only texts."""
MEMORY = "memory"
"""Who answers texts that a person has corrected, and their near twins."""
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


class AskerDict(TypedDict):
    """The model that a run began with, which may be replaced while it waits; see :class:`healdag.nodes.Decider`."""

    model_version: str
    review_threshold: float  # a doubted row whose answer is right with less probability needs a person
    labels: list[str]
    thresholds: list[float] | None
    multi_label: bool
    set_calibration: list[float] | None


class MemoryDict(TypedDict):
    """What people's corrections say about one text."""

    label: Label
    confidence: float  # probability that the label is right
    probabilities: Row  # in a single-label task that of the label is the confidence
    event: str | None  # id of the correction that was matched
    similarity: float  # of its text to this one, 1 where they are the same
    ms: float


def top(row: Sequence[float]) -> tuple[int, float]:
    """Column and value of the largest probability."""
    value = max(row)
    return row.index(value), value


def pending_rows(state: Any) -> list[int]:
    """Rows that neither the emoji lexicon, the memory nor the first stage has answered."""
    open_rows = (i for i, emoji in enumerate(state["emoji"]) if emoji is None)
    return [i for i in open_rows if memory_of(state, i) is None and first_of(state, i) is None]


def first_of(state: Any, i: int) -> AnswerDict | None:
    """The first stage's answer to a row, where it stands."""
    found: AnswerDict | None = state["first"][i] if state.get("first") else None
    return found


def memory_of(state: Any, i: int) -> MemoryDict | None:
    """What the memory says about a row: a correction of this very text, or of a near twin."""
    found = state["remembered"][i]
    if found is None and state.get("recalled"):
        found = state["recalled"][i]
    known: MemoryDict | None = found
    return known


def doubts(state: Any, i: int) -> list[str]:
    """Why a row's answer is doubted, and 'budget' where there is one that is not given."""
    reasons = list(state["reasons"][i]) if state.get("reasons") else []
    over_budget = not state["accepted"][i] and state["trust"][i] is not None
    return [*reasons, "budget"] if over_budget else reasons


def standing(state: Any, i: int) -> tuple[Row | None, str]:
    """The probabilities that stand for a row before a person is asked, and whose they are."""
    known = memory_of(state, i)
    if known is not None:
        return known["probabilities"], MEMORY
    if state["emoji"][i] is not None:
        return state["emoji"][i], EMOJI
    first = first_of(state, i)
    if first is not None:
        return first["probabilities"], first["by"]
    backups = state.get("backup")
    backup = backups[i] if backups else None
    if backup is not None and backup["probabilities"] is not None:
        return backup["probabilities"], str(backup["by"])
    primary = state["primary"][i]
    return primary["probabilities"], primary["by"]
