"""The graph's nodes: small objects with their dependencies bound, each writing its own keys of the state."""

from __future__ import annotations

from .backup import Backup, Rung
from .check import Check
from .circuit import Circuit
from .classify import Classify
from .condense import CONDENSER, Condense
from .corrections import Corrections
from .decider import Decider
from .finalize import Finalize
from .first_stage import FirstStage
from .log import BY_CALLER, Log
from .memory import Memory, Recall
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
    "Circuit",
    "Classify",
    "Condense",
    "Corrections",
    "Decider",
    "Finalize",
    "FirstStage",
    "Log",
    "Memory",
    "Preprocess",
    "Recall",
    "Review",
    "Rung",
    "Sarcasm",
    "Trust",
    "pending_rows",
]
