"""Chat with an agent: each argument is one message."""

import os
import sys

from anthropic import Anthropic

client = Anthropic()
messages = sys.argv[1:] or ["Which Python version does your sandbox have?", "And how much memory?"]

agent = client.beta.agents.create(
    name="Chat",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    system="You are a helpful assistant. Be brief.",
    tools=[{"type": "agent_toolset_20260401"}],
)
environment = client.beta.environments.create(name=f"chat-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="Chat")
print(f"session {session.id}")

for message in messages:
    print(f"> {message.splitlines()[0]}")
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(
            session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": message}]}]
        )
        for event in stream:
            if event.type == "agent.message":
                print("".join(block.text for block in event.content if block.type == "text"))
            elif event.type == "agent.tool_use":
                print(f"  [{event.name} {event.input}]")
            elif event.type == "session.error":
                print(f"  error: {event.error.message}")
            elif event.type == "session.status_idle":
                break
