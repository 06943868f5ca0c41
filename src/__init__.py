"""healdag: a LangGraph state graph that classifies text and heals its own mistakes.

Names are loaded when they are first used, so that ``import healdag`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Settings
    from .errors import HealdagError
    from .graph import Classifier, create_classifier
    from .healing.heal import heal
    from .healing.report import HealReport
    from .schema import Attempt, Classification, Question

__version__ = "0.1.0"

_HOMES = {
    "Attempt": "schema",
    "Classification": "schema",
    "Classifier": "graph",
    "HealReport": "healing",
    "HealdagError": "errors",
    "Question": "schema",
    "Settings": "config",
    "create_classifier": "graph",
    "heal": "healing",
}
__all__ = [
    "Attempt",
    "Classification",
    "Classifier",
    "HealReport",
    "HealdagError",
    "Question",
    "Settings",
    "__version__",
    "create_classifier",
    "heal",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
