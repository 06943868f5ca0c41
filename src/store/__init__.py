"""The decision log: every final answer, as JSON lines or in SQLite, and how it is read again."""

from __future__ import annotations

from .decisions import DecisionLog, Decisions, read_decisions
from .row import Decision, TextMode, hash_text
from .statistics import BackupFigures, Count, LabelFigures, Period, Spread, Statistics, summarize

__all__ = [
    "BackupFigures",
    "Count",
    "Decision",
    "DecisionLog",
    "Decisions",
    "LabelFigures",
    "Period",
    "Spread",
    "Statistics",
    "TextMode",
    "hash_text",
    "read_decisions",
    "summarize",
]
