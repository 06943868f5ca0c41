"""Writes the results of a run into the decision log."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig

from ..store import DecisionLog
from .preprocess import RUN_PREFIX

BY_CALLER = "__healdag_logged_by_caller"  # with the underscores LangGraph does not keep it with the checkpoint
"""Key of a run's configuration: whoever resumes it logs what becomes final by that."""


@dataclass(frozen=True)
class Log:
    """Writes no key of the state.

    Attributes:
        decisions: The decision log.
    """

    decisions: DecisionLog

    def __call__(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        """Each decision once, also in a run that has waited for a person."""
        run = config.get("configurable") or {}
        results = state["results"]
        if run.get(BY_CALLER):
            return {}
        if state.get("answers") and str(run.get("thread_id", "")).startswith(RUN_PREFIX):
            # The classifier started it, and wrote what was final when it paused.
            results = [result for result in results if result["decision_id"] in state["answers"]]
        self.decisions.append(results)
        return {}

    def write_final(self, results: list[dict[str, Any]], answered: Collection[str] | None) -> None:
        """Writes what has become final in a run that pauses for a person, or that one has answered.

        Args:
            results: Of all its rows, those that are pending among them.
            answered: Ids of the decisions that were answered just now; None where the run has just paused.
        """
        self.decisions.append(row for row in results if answered is None or row["decision_id"] in answered)
