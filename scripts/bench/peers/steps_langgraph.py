"""Durable steps of a LangGraph graph on SQLite: `steps_langgraph.py FOLDER COUNT` prints their milliseconds as JSON.

Runs with the peers' interpreter, and imports nothing of ours.
"""

import importlib
import itertools
import json
import sqlite3
import sys
import time
from typing import Any, TypedDict


class State(TypedDict):
    """A counter, and the last thousand characters; a history would grow each checkpoint."""

    number: int
    text: str


def main(folder: str, count: int) -> list[float]:
    """Run a graph whose one node comes back to itself that often, with a checkpoint written before the next."""
    graphs: Any = importlib.import_module("langgraph.graph")
    saving: Any = importlib.import_module("langgraph.checkpoint.sqlite")
    moments: list[float] = []

    def node(state: State) -> State:
        moments.append(time.perf_counter())
        return {"number": state["number"] + 1, "text": f"{state['number']:1000}"}

    graph = graphs.StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(graphs.START, "node")
    graph.add_conditional_edges("node", lambda state: graphs.END if state["number"] > count else "node")
    connection = sqlite3.connect(f"{folder}/langgraph.sqlite", check_same_thread=False)
    app = graph.compile(checkpointer=saving.SqliteSaver(connection))
    settings = {"configurable": {"thread_id": "1"}, "recursion_limit": count + 10}
    app.invoke({"number": 0, "text": ""}, settings, durability="sync")
    return [(after - before) * 1000 for before, after in itertools.pairwise(moments)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
