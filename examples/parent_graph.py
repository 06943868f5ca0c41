"""healdag inside another graph, in both ways: as a node that is a function, and as a subgraph."""

from typing import Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from healdag import create_classifier

classifier = create_classifier()


class Ticket(TypedDict, total=False):
    """The parent's state; healdag writes the last three keys and leaves the others alone."""

    number: int
    body: str
    reply: str
    final_label: str | None
    confidence: float | None
    source: str


def reply(state: Ticket) -> dict[str, Any]:
    return {"reply": "We are sorry!" if state["final_label"] in {"anger", "disgust", "sadness"} else "Thank you!"}


parent = StateGraph(Ticket)
parent.add_node("mood", classifier.as_node(text_key="body"))
parent.add_node("reply", reply)
parent.add_edge(START, "mood")
parent.add_edge("mood", "reply")
parent.add_edge("reply", END)
print("as a node:", parent.compile().invoke({"number": 1, "body": "This is the worst service ever, I hate it!"}))


class Message(TypedDict, total=False):
    """The compiled graph as a subgraph reads ``text``; a checkpointer of the parent's reaches into it."""

    number: int
    text: str
    final_label: str | None
    confidence: float | None
    source: str


outer = StateGraph(Message)
outer.add_node("mood", classifier.graph)
outer.add_edge(START, "mood")
outer.add_edge("mood", END)
print("as a subgraph:", outer.compile().invoke({"number": 2, "text": "Thank you all, this made my week!"}))
