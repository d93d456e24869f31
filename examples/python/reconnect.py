"""Follow a session through broken connections: open the stream, list what happened, skip what was seen."""

import itertools
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2  # what version 2 of the SDK speaks HTTP with; earlier ones: httpx
from anthropic import Anthropic, APIError

client = Anthropic(max_retries=10, timeout=20)  # a stream is never silent for so long; what is, is broken
message = sys.argv[1] if len(sys.argv) > 1 else "Count from 1 to 20, one shell command for each number, slowly."


def follow(session_id: str) -> Iterator[Any]:
    """Yield each event once, whatever happens to a connection."""
    seen: set[str] = set()
    while True:
        try:
            with client.beta.sessions.events.stream(session_id) as stream:
                for event in itertools.chain(client.beta.sessions.events.list(session_id, limit=1000), stream):
                    if event.id not in seen:
                        seen.add(event.id)
                        yield event
        except (APIError, httpx2.HTTPError) as failure:
            print(f"again, after {type(failure).__name__}", file=sys.stderr)
        time.sleep(0.5)


agent = client.beta.agents.create(
    name="Patient",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    tools=[{"type": "agent_toolset_20260401"}],
)
environment = client.beta.environments.create(name=f"patient-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(
    agent=agent.id,
    environment_id=environment.id,
    initial_events=[{"type": "user.message", "content": [{"type": "text", "text": message}]}],
)
print(f"session {session.id}", flush=True)

for event in follow(session.id):
    if event.type == "agent.tool_result":
        print("".join(block.text for block in event.content or [] if block.type == "text"), flush=True)
    elif event.type == "agent.message":
        print("".join(block.text for block in event.content if block.type == "text"), flush=True)
    elif event.type == "session.status_idle":
        break
