"""The graph for LangGraph's dev server: ``langgraph dev`` finds make_graph through langgraph.json."""

from functools import cache
from typing import Any

from langchain_core.runnables import RunnableConfig

from healdag import Classifier, create_classifier


@cache  # the server calls make_graph for every run; the model is loaded once
def load() -> Classifier:
    return create_classifier()


def make_graph(config: RunnableConfig | None = None) -> Any:  # noqa: ARG001 - the server gives one
    """The compiled graph; it takes {"text": "..."}. The server brings its own checkpointer."""
    return load().graph


if __name__ == "__main__":
    print(make_graph().get_graph().draw_mermaid())
