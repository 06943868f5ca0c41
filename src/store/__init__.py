"""The decision log: every final answer. The feedback store: what people said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .decisions import DecisionLog, Decisions, read_decisions
from .row import Decision, TextMode, hash_text
from .statistics import BackupFigures, Count, LabelFigures, Period, Spread, Statistics, summarize

if TYPE_CHECKING:
    from .feedback import FeedbackEvent, FeedbackStore

__all__ = [
    "BackupFigures",
    "Count",
    "Decision",
    "DecisionLog",
    "Decisions",
    "FeedbackEvent",
    "FeedbackStore",
    "LabelFigures",
    "Period",
    "Spread",
    "Statistics",
    "TextMode",
    "hash_text",
    "read_decisions",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name in {
        "FeedbackEvent",
        "FeedbackStore",
    }:  # when first used: a classifier without corrections needs no database
        from . import feedback

        return getattr(feedback, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
