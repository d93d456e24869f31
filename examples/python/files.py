"""A file in, a file out: the agent reads an upload and leaves its answer as a file."""

import os
import sys
import time

from anthropic import Anthropic

client = Anthropic()
TASK = "Sum the second column of /mnt/session/uploads/sales.csv and write it to /mnt/session/outputs/total.txt."
message = sys.argv[1] if len(sys.argv) > 1 else TASK

upload = client.beta.files.upload(file=("sales.csv", b"month,amount\njan,10\nfeb,32\n", "text/csv"))
agent = client.beta.agents.create(
    name="Clerk",
    model=os.environ.get("MODEL", "claude-opus-5-5"),
    tools=[{"type": "agent_toolset_20260401"}],
)
environment = client.beta.environments.create(name=f"clerk-{os.urandom(4).hex()}", config={"type": "cloud"})
session = client.beta.sessions.create(
    agent=agent.id,
    environment_id=environment.id,
    resources=[{"type": "file", "file_id": upload.id, "mount_path": "sales.csv"}],
)

with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": message}]}]
    )
    for event in stream:
        if event.type == "agent.message":
            print("".join(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle":
            break

outputs = []
deadline = time.monotonic() + 120
while not outputs and time.monotonic() < deadline:  # files appear a few seconds after the session is idle
    listed = client.beta.files.list(scope_id=session.id).data
    outputs = [file for file in listed if file.downloadable]
    time.sleep(0.5)
for file in outputs:
    print(f"{file.filename}: {client.beta.files.download(file.id).read().decode().strip()}")
