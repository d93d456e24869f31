"""Loads of wakes, each told with its latencies and with what a wake cost the processes and the kube-apiserver."""

import asyncio

from bench.scale.figures import Load, quantiles_of
from bench.scale.load import offer
from bench.scale.looks import between
from bench.scale.parts import Bench
from bench.scale.standing import standing
from bench.scale.tally import Tally, spans

STANDING_LEAST = 100
STANDING_MOST = 1000
STANDING_SECONDS = 4.0
"""Seconds' worth of harnesses in line: each comes back well within that."""
REST_SECONDS = 5.0
SETTLED_SECONDS = 60.0
"""How long the operator may take after a load to write down what became of the sessions."""
FAILURES_SHOWN = 5


async def load(bench: Bench, tally: Tally, kind: str, *, rate: float, seconds: float) -> Load:
    """Offer one load and tell it."""
    before = await bench.looks.now()
    done = await offer(bench.api, tally, rate=rate, seconds=seconds)
    after = await bench.looks.now()
    span, leased = between(before, after), done.leased
    bench.tell(
        kind,
        rate=rate,
        seconds=seconds,
        has_held=done.has_held,
        asked=done.asked,
        ended=len(spans(tally.wakes, "idle_at")),
        within_seconds=round(span.seconds, 1),
        accepted_ms=quantiles_of(spans(tally.wakes, "accepted_at")),
        leased_ms=quantiles_of(spans(tally.wakes, "leased_at")),
        first_event_ms=quantiles_of(spans(tally.wakes, "first_at")),
        idle_ms=quantiles_of(spans(tally.wakes, "idle_at")),
        generator_late_ms=quantiles_of(tally.late),
        failures=dict(tally.failures.most_common(FAILURES_SHOWN)),
        cpu_seconds=span.cpu,
        memory_mb=after.memory,
        load=after.load,
        each_wake=span.each(leased),
    )
    try:
        await bench.looks.settled(SETTLED_SECONDS)
    except TimeoutError:
        bench.tell(f"{kind}_not_settled", rate=rate, seconds=SETTLED_SECONDS)
        return done
    settled = between(before, await bench.looks.now())
    bench.tell(f"{kind}_settled", rate=rate, seconds=round(settled.seconds, 1), each_wake=settled.each(leased))
    return done


async def sweep(bench: Bench, tally: Tally, rates: list[tuple[float, float]]) -> list[Load]:
    """Offer loads of rising rates, pairs of rate and seconds, to harnesses that never run out."""
    most = max(rate for rate, _ in rates)
    count = min(max(round(most * STANDING_SECONDS), STANDING_LEAST), STANDING_MOST)
    done = []
    async with standing(bench.http, bench.raw, bench.server, bench.place.internal_url, tally, count=count):
        bench.tell("standing", harnesses=count)
        await asyncio.sleep(REST_SECONDS)  # the connections of all of them
        for rate, seconds in rates:
            done.append(await load(bench, tally, "wakes", rate=rate, seconds=seconds))
            await asyncio.sleep(REST_SECONDS)
    return done
