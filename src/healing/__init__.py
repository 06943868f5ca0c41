"""Healing: corrections become the next version of a model, behind a gate; a version that does badly goes back."""

from __future__ import annotations

from .candidate import Recipe
from .flips import Flip, Flips, find_flips
from .gate import Check, Limits
from .guard import GuardReport, guard
from .heal import heal
from .report import HealReport, read_report
from .screen import Rules
from .watch import watch

__all__ = [
    "Check",
    "Flip",
    "Flips",
    "GuardReport",
    "HealReport",
    "Limits",
    "Recipe",
    "Rules",
    "find_flips",
    "guard",
    "heal",
    "read_report",
    "watch",
]
