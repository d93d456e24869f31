"""B25: the largest legal Session admitted, beside the smallest; both as dry runs, which store nothing."""

import json
import time

from bench.pacing import in_turn
from bench.rows.creation import session_object
from bench.stage import Order, Samples, Stage
from bench.world.world import World
from support.cluster import message

ENTRIES, CHARACTERS = 100, 1310
"""100 messages, and 131,000 of the 131,072 characters that `spec.events` may hold together."""
SAMPLES = 150
PER_SECOND = 10.0


def largest() -> bytes:
    """Return the largest Session that admission takes."""
    made = session_object("largest", "x")
    made["spec"]["events"] = [message(f"m{number}", "x" * CHARACTERS) for number in range(ENTRIES)]
    made["spec"]["title"] = "t" * 512
    made["spec"]["metadata"] = {f"{number:064}": "v" * 512 for number in range(16)}
    return json.dumps(made).encode()


async def _measure(order: Order, world: World) -> Samples:
    path = f"/apis/managedagents.dev/v1alpha1/namespaces/{world.namespace.name}/sessions"
    large, small = largest(), json.dumps(session_object("smallest", "x")).encode()

    async def admit(body: bytes) -> float:
        started = time.monotonic()
        await world.raw.dry_run(path, body)
        return (time.monotonic() - started) * 1000

    for body in (large, small):
        await admit(body)
    path_of, floor_of = (lambda _: admit(large)), (lambda _: admit(small))
    count = order.count(SAMPLES)
    async for sample in in_turn("Session, dry run", path_of, floor_of, count=count, per_second=PER_SECOND):
        yield sample


STAGE = Stage(
    id="B25",
    title="admission",
    path="the largest legal Session: sent → admitted",
    floor="the smallest one",
    target="≤ 5 ms more; the CEL budget is held by tests/manifests/test_budget.py",
    seconds_max=60,
    measure=_measure,
)
