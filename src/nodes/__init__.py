"""The graph's nodes: small objects with their dependencies bound, each writing its own keys of the state."""

from __future__ import annotations

from .backup import Backup, Rung
from .check import Check
from .classify import Classify
from .finalize import Finalize
from .memory import Memory
from .preprocess import RUN_PREFIX, Preprocess
from .records import pending_rows
from .review import Review
from .sarcasm import Sarcasm

__all__ = [
    "RUN_PREFIX",
    "Backup",
    "Check",
    "Classify",
    "Finalize",
    "Memory",
    "Preprocess",
    "Review",
    "Rung",
    "Sarcasm",
    "pending_rows",
]
