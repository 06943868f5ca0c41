r"""The topology, declared once::

    preprocess -> memory -> (condense) -> classify -> sarcasm -> check -> (backup) -> trust -> (review) -> finalize
                     \-- emoji-only, or corrected before ------------------------------^

With a decision log, ``log`` comes after finalize. With a cheap first stage, ``first`` comes after memory, and what it
is sure of goes to trust. Near twins of corrected texts are known once ``classify`` has read them: they pass by
sarcasm, check and backup.

Adding a node: write ``nodes/<name>.py``, bind it in ``Nodes``, and give it a line in ``build_graph``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.graph import END, START, StateGraph

from ..nodes import (
    Backup,
    Check,
    Classify,
    Condense,
    Finalize,
    FirstStage,
    Log,
    Memory,
    Preprocess,
    Review,
    Sarcasm,
    Trust,
    pending_rows,
)
from .state import Input, Output, State


@dataclass(frozen=True)
class Nodes:
    """The graph's nodes with their dependencies bound.

    Attributes:
        engine: What runs the networks in them, in words.
        notes: What is not as it was meant to be, in words: models that could not be loaded, and what stands in.
    """

    preprocess: Preprocess
    memory: Memory
    classify: Classify
    sarcasm: Sarcasm
    check: Check
    backup: Backup
    trust: Trust
    review: Review
    finalize: Finalize
    condense: Condense | None = None
    first: FirstStage | None = None
    log: Log | None = None
    engine: str = ""
    notes: tuple[str, ...] = ()


def build_graph(nodes: Nodes, *, human_review: bool = False) -> StateGraph[Any, Any, Any, Any]:
    """The graph, not yet compiled, so that a caller can add a checkpointer or more nodes.

    Args:
        nodes: What runs.
        human_review: Whether rows that stay doubtful pause the graph for a person.
    """
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State, input_schema=Input, output_schema=Output)
    graph.add_node("preprocess", nodes.preprocess)
    graph.add_node("memory", nodes.memory)
    reader = "classify"
    if nodes.condense is not None:
        graph.add_node("condense", nodes.condense)
        graph.add_edge("condense", "classify")
        reader = "condense"
    graph.add_node("classify", nodes.classify)
    graph.add_node("sarcasm", nodes.sarcasm)
    graph.add_node("check", nodes.check)
    graph.add_node("backup", nodes.backup)
    graph.add_node("trust", nodes.trust)
    graph.add_node("review", nodes.review)
    graph.add_node("finalize", nodes.finalize)

    def to_reader(state: State) -> str:
        return reader if pending_rows(state) else "trust"

    def to_first(state: State) -> str:
        return "first" if pending_rows(state) else "trust"

    def after_check(state: State) -> str:
        return "backup" if nodes.backup.ladder and any(state["reasons"]) else "trust"

    def after_trust(state: State) -> str:
        return "review" if human_review and nodes.review.needed(state) else "finalize"

    graph.add_edge(START, "preprocess")
    graph.add_edge("preprocess", "memory")
    if nodes.first is None:
        graph.add_conditional_edges("memory", to_reader, [reader, "trust"])
    else:
        graph.add_node("first", nodes.first)
        graph.add_conditional_edges("memory", to_first, ["first", "trust"])
        graph.add_conditional_edges("first", to_reader, [reader, "trust"])
    graph.add_edge("classify", "sarcasm")
    graph.add_edge("sarcasm", "check")
    graph.add_conditional_edges("check", after_check, ["backup", "trust"])
    graph.add_edge("backup", "trust")
    graph.add_conditional_edges("trust", after_trust, ["review", "finalize"])
    graph.add_edge("review", "finalize")
    if nodes.log is None:
        graph.add_edge("finalize", END)
    else:
        graph.add_node("log", nodes.log)
        graph.add_edge("finalize", "log")
        graph.add_edge("log", END)
    return graph
