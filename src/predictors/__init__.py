"""Predictors: one module per kind, and the folder is the registry.

A module here whose name does not start with an underscore (``base`` aside) is a kind. It has one function,
``load(spec: Spec) -> Predictor``; nothing needs registering.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import cast

from ..errors import ConfigError
from ._familiarity import FAMILIARITY, Familiarity, read_familiarity
from ._observe import Observed, Seen, observe
from ._screen import SCREEN, Screen, every_layer, read_screen
from .base import (
    Answers,
    FloatArray,
    Predictor,
    Row,
    Spec,
    ask,
    calibrate,
    check_rows,
    decide,
    is_multi_label,
    list_confidence,
    logits_of,
    sigmoid,
    softmax,
)

__all__ = [
    "FAMILIARITY",
    "SCREEN",
    "Answers",
    "Familiarity",
    "FloatArray",
    "Observed",
    "Predictor",
    "Row",
    "Screen",
    "Seen",
    "Spec",
    "ask",
    "calibrate",
    "check_rows",
    "decide",
    "every_layer",
    "is_multi_label",
    "kinds",
    "list_confidence",
    "load_predictor",
    "logits_of",
    "observe",
    "read_familiarity",
    "read_screen",
    "sigmoid",
    "softmax",
]


def kinds() -> list[str]:
    """Names of the kinds that can be loaded."""
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in names if not name.startswith("_") and name != "base")


def load_predictor(kind: str, spec: Spec) -> Predictor:
    """Loads a predictor of a kind.

    Raises:
        ConfigError: no such kind; the message lists the kinds.
        ArtifactError: its files are missing or not the trained ones.
        MissingExtraError: it needs a package that is not installed.
    """
    if kind not in kinds():
        raise ConfigError(f"no predictor of kind {kind!r}; there are: {', '.join(kinds())}")
    return cast("Predictor", import_module(f".{kind}", __package__).load(spec))
