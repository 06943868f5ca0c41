"""Answers while the queue of questions cannot be used: locked, full, or out of reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from ..errors import StoreError
from ..nodes import BY_CALLER, Finalize
from .savers import MemoryQueue

REVIEW = "review"
"""Who could not be asked, among the attempts of such an answer."""


def run_unqueued(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    finalize: Finalize,
    texts: Sequence[str],
    config: RunnableConfig,
    error: StoreError,
) -> list[dict[str, Any]]:
    """Runs the graph again, keeping nothing: a row that would wait for a person is not answered, and says why.

    Args:
        graph: With the checkpointer that has failed.
        finalize: Its node.
        texts: What to classify.
        config: Of the run that has failed; the decisions get the same ids.
        error: Why it has.

    Returns:
        The results as plain dictionaries, none of them pending; nothing is logged.
    """
    memory = graph.copy({"checkpointer": MemoryQueue()})
    run: RunnableConfig = {"configurable": {**config["configurable"], BY_CALLER: True}}
    output = memory.invoke({"texts": list(texts)}, run, durability="exit")
    state = memory.get_state(run)
    waiting = {question["decision_id"] for stop in state.interrupts for question in stop.value}
    if not waiting:
        return list(output["results"])
    values = {**state.values, "answers": {}}
    return [
        _unasked(finalize.result(values, i, pending=True), error) if key in waiting else finalize.result(values, i)
        for i, key in enumerate(values["ids"])
    ]


def _unasked(row: dict[str, Any], error: StoreError) -> dict[str, Any]:
    missed = {"by": REVIEW, "label": None, "confidence": None, "ms": 0.0, "accepted": False, "error": str(error)}
    return {**row, "source": "abstain", "attempts": [*row["attempts"], missed]}
