"""A person decides on each shell command: harmless ones are allowed, others denied."""

import os
import sys

from anthropic import Anthropic

client = Anthropic()
message = sys.argv[1] if len(sys.argv) > 1 else "List the files here, then delete them all."

agent = client.beta.agents.create(
    name="Careful",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    tools=[
        {
            "type": "agent_toolset_20260401",
            "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
        }
    ],
)
environment = client.beta.environments.create(name=f"careful-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
asked = {}

with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": message}]}]
    )
    for event in stream:
        if event.type == "agent.tool_use":
            asked[event.id] = event.input.get("command", "")
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle":
            if event.stop_reason.type != "requires_action":
                break
            decisions = []
            for event_id in event.stop_reason.event_ids:
                harmless = "rm " not in asked[event_id]
                print(f"{'allow' if harmless else 'deny'}: {asked[event_id]}")
                decision = {"type": "user.tool_confirmation", "tool_use_id": event_id}
                if harmless:
                    decisions.append({**decision, "result": "allow"})
                else:
                    decisions.append({**decision, "result": "deny", "deny_message": "Nothing is deleted here."})
            client.beta.sessions.events.send(session.id, events=decisions)
