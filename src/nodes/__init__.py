"""The graph's nodes: small objects with their dependencies bound, each writing its own keys of the state."""

from __future__ import annotations

from .backup import Backup, Rung
from .check import Check
from .classify import Classify
from .condense import CONDENSER, Condense
from .decider import Decider
from .finalize import Finalize
from .log import BY_CALLER, Log
from .memory import Memory
from .preprocess import RUN_PREFIX, Preprocess
from .records import pending_rows
from .review import Review
from .sarcasm import Sarcasm
from .trust import Trust

__all__ = [
    "BY_CALLER",
    "CONDENSER",
    "RUN_PREFIX",
    "Backup",
    "Check",
    "Classify",
    "Condense",
    "Decider",
    "Finalize",
    "Log",
    "Memory",
    "Preprocess",
    "Review",
    "Rung",
    "Sarcasm",
    "Trust",
    "pending_rows",
]
