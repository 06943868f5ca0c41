"""An agent that calls the classifier as a tool. The chat model is a fake without a key; put your own in its place."""

from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from healdag import create_classifier

tool = create_classifier().as_tool()
review = "The hotel lost our booking and blamed us for it."
call = {"name": tool.name, "args": {"text": review}, "id": "call-1", "type": "tool_call"}
# With a real model: model = init_chat_model("provider:model").bind_tools([tool])
model = GenericFakeChatModel(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("They are not amused.")]))


def agent(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model.invoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("agent", agent)
graph.add_node("tools", ToolNode([tool]))
graph.add_edge(START, "agent")
graph.add_conditional_edges("agent", tools_condition)
graph.add_edge("tools", "agent")

output = graph.compile().invoke({"messages": [HumanMessage(f"How does this guest feel? {review}")]})
for message in output["messages"]:
    calls = [f"{call['name']}({call['args']['text']!r})" for call in getattr(message, "tool_calls", [])]
    print(f"{message.type}: {message.content or ' '.join(calls)}")
