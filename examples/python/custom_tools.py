"""A custom tool: the agent asks, this program answers, the session goes on."""

import os
import sys

from anthropic import Anthropic

client = Anthropic()
message = sys.argv[1] if len(sys.argv) > 1 else "What is the weather in Paris? Use the tool."
WEATHER = {"Paris": "18 °C, light rain", "Oslo": "4 °C, clear"}

agent = client.beta.agents.create(
    name="Weather",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    tools=[
        {
            "type": "custom",
            "name": "get_weather",
            "description": "Tells the weather of a city now.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }
    ],
)
environment = client.beta.environments.create(name=f"weather-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)

with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": message}]}]
    )
    for event in stream:
        if event.type == "agent.custom_tool_use":
            city = str(event.input.get("city"))
            print(f"asked for {city}")
            client.beta.sessions.events.send(
                session.id,
                events=[
                    {
                        "type": "user.custom_tool_result",
                        "custom_tool_use_id": event.id,
                        "content": [{"type": "text", "text": WEATHER.get(city, "unknown")}],
                    }
                ],
            )
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle" and event.stop_reason.type != "requires_action":
            break
