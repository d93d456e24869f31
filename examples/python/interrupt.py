"""Interrupt and redirect: one request stops what runs and gives the agent another task."""

import os
import sys

from anthropic import Anthropic

client = Anthropic()
first = sys.argv[1] if len(sys.argv) > 1 else "Run `sleep 600` in the shell."
second = sys.argv[2] if len(sys.argv) > 2 else "Never mind. Say hello."

agent = client.beta.agents.create(
    name="Redirected",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    tools=[{"type": "agent_toolset_20260401"}],
)
environment = client.beta.environments.create(name=f"redirected-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)


def text(value: str) -> dict:
    """Return a user message of one text."""
    return {"type": "user.message", "content": [{"type": "text", "text": value}]}


redirected = False
with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(session.id, events=[text(first)])
    for event in stream:
        if event.type == "agent.tool_use" and not redirected:
            redirected = True
            print(f"interrupting: {event.input}")
            client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}, text(second)])
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content if block.type == "text"))
            if redirected:
                break
