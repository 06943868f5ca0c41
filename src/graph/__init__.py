"""The LangGraph graph: its state, its topology (``build.py``), and the classifier in front of it."""

from __future__ import annotations

from .build import Nodes, build_graph
from .classifier import Classifier
from .factory import create_classifier
from .state import State

__all__ = ["Classifier", "Nodes", "State", "build_graph", "create_classifier"]
