"""A node of your own in healdag's topology: it reads the results and says which queue each text belongs to."""

from typing import Any

from healdag import create_classifier
from healdag.graph import State, build_graph


class Triage(State):
    """healdag's state and one key more; a key that is not declared would be dropped."""

    queues: list[str]


def triage(state: Triage) -> dict[str, Any]:
    """Doubted answers go to a person, upset writers to the front of the line."""

    def queue(result: dict[str, Any]) -> str:
        if result["reasons"]:
            return "to check"
        return "urgent" if result["final_label"] in {"anger", "fear"} else "normal"

    return {"queues": [queue(result) for result in state["results"]]}


graph = build_graph(create_classifier().nodes)
graph.add_node("triage", triage)
graph.add_edge("finalize", "triage")
app = graph.compile()

texts = ["Stop calling me, I am furious!", "Thanks, that fixed it.", "Oh great, it is broken again. Just perfect."]
for update in app.stream({"texts": texts}, stream_mode="updates"):
    for node, written in update.items():
        print(f"{node} wrote {', '.join(written)}")
        if node == "triage":
            for queue, text in zip(written["queues"], texts, strict=True):
                print(f"    {queue}: {text}")
