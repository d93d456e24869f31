"""Two sessions that work side by side with real peers, of which one loses its proxy again and again.

Half a minute in the suite. Ten minutes: `MANAGED_AGENTS_LONG_SESSION_SECONDS=600 scripts/with-cluster .venv/bin/pytest
tests/e2e/test_long_session.py -m cluster`; `MANAGED_AGENTS_SEED` repeats the moments of a run.
"""

import base64
import os
import random
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from support.canaries import canary, needles, search
from support.cluster import KubectlError, Namespace, egress_rules, eventually
from support.faults import kill_harness_pod, kill_proxy
from support.git_pod import GitPod, git_pod
from support.long_session import LongSession, world_for, wrong_calls, wrong_commands, wrong_pushes
from support.mcp_front import LIFETIME_SECONDS
from support.peers import Peers, peers_in
from support.requirements import requirement
from support.searched import files, texts

SECONDS = float(os.environ.get("MANAGED_AGENTS_LONG_SESSION_SECONDS", "30"))
SEED = int(os.environ.get("MANAGED_AGENTS_SEED", "") or secrets.randbelow(10**6))
PAUSE_SECONDS = (5.0, 20.0)
RESTARTS_MAX = 2
"""Of one container; the kubelet waits longer for each. Then the Pod is deleted, and the next begins anew."""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(int(SECONDS) + 600)]


@contextmanager
def losing_proxies(namespace: Namespace, session: str) -> Iterator[list[str]]:
    """Kill the proxy of a session at random moments while the block runs; yields the kills."""
    pick, ended, kills = random.Random(SEED), threading.Event(), list[str]()  # noqa: S311 - moments, no secrets

    def kill() -> None:
        in_a_row = 0
        while not ended.wait(pick.uniform(*PAUSE_SECONDS)):
            fault = kill_proxy if in_a_row < RESTARTS_MAX else kill_harness_pod
            try:
                fault(namespace.name, session)
            except (KubectlError, AssertionError, StopIteration, subprocess.SubprocessError) as missed:
                kills.append(f"missed: {type(missed).__name__}")
                continue
            in_a_row = in_a_row + 1 if fault is kill_proxy else 0
            kills.append(fault.__name__)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        ended.set()
        thread.join(60)


def work(session: LongSession, seconds: float) -> None:
    """Turn after turn until the time is over; at least two."""
    until = time.monotonic() + seconds
    while session.turns < 2 or time.monotonic() < until:
        session.turn()
        assert wrong_commands(session) == [], "what is wrong from the start ends at once"


def stored_refresh(session: LongSession) -> str:
    """Return the refresh token that the session's vault holds now."""
    found = session.namespace.select("secrets", "managedagents.dev/vault")
    grants = {entry["refresh"]: entry["grant"] for entry in session.peers.issued()}
    held = [base64.b64decode(v).decode() for s in found for k, v in s["data"].items() if k.endswith(".refresh-token")]
    (mine,) = [token for token in held if grants.get(token) == session.name]
    return mine


def assert_true_at_the_end(session: LongSession, *, was_killed: bool) -> None:
    """Hold one session to what is promised."""
    calls, failed = wrong_calls(session, may_be_unknown=was_killed)
    print(f"{session.name}: {session.turns} turns, {failed} calls of MCP servers without an answer")
    assert wrong_pushes(session) == []
    assert wrong_commands(session) == []
    assert calls == []
    newest = [entry["refresh"] for entry in session.peers.issued() if entry["grant"] == session.name][-1]
    assert stored_refresh(session) == newest, "the vault holds a grant that was replaced"
    eventually("the vault is valid", lambda: _is_valid(session.namespace))


def _is_valid(namespace: Namespace) -> bool:
    vaults = namespace.select("vaults")
    ready = [c for vault in vaults for c in vault.get("status", {}).get("conditions", []) if c["type"] == "Ready"]
    return len(ready) == len(vaults) and all(condition["status"] == "True" for condition in ready)


@requirement("long-session", "long-session-proxies", "mcp-oauth", "repositories-token", "A35", "I16")
def test_sessions_work_on_with_all_peers_while_one_loses_its_proxy_at_random(namespace: Namespace) -> None:
    print(f"seed {SEED}, {SECONDS:.0f} s")
    forge, peers = git_pod(namespace, memory="256Mi"), peers_in(namespace, ["calm", "harassed"])
    token = canary("repository")
    forge.accept(token)
    forge.make("private/other")
    rules = {"allowed_hosts": [forge.host, *peers.hosts()], "authorities": [forge.certificate]}
    with egress_rules({**rules, "registries": {"pip": [peers.pip], "npm": [peers.npm]}}):
        world_for(namespace, peers, forge)
        calm, harassed = (
            LongSession(namespace=namespace, peers=peers, forge=forge, name=name, token=token)
            for name in ("calm", "harassed")
        )
        for session in (calm, harassed):
            session.start()
        with ThreadPoolExecutor(2) as pool:
            quiet = pool.submit(work, calm, SECONDS)
            with losing_proxies(namespace, harassed.session) as kills:
                pool.submit(work, harassed, SECONDS).result()
            quiet.result()
        print(f"kills: {kills}")
        ended = time.monotonic() + LIFETIME_SECONDS
        eventually("the last token has ended", lambda: time.monotonic() > ended)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(LongSession.turn, (calm, harassed)))
        assert any(not kill.startswith("missed") for kill in kills), "nothing was killed"
        assert peers.reuses() == [], "a refresh token was sent a second time"
        for session in (calm, harassed):
            assert_true_at_the_end(session, was_killed=session is harassed)
        assert_nothing_leaked(namespace, peers, forge, token, (calm, harassed))


def assert_nothing_leaked(
    namespace: Namespace, peers: Peers, forge: GitPod, token: str, sessions: tuple[LongSession, ...]
) -> None:
    """Search for every credential that was ever used, where none may be."""
    wanted = {"repository token": token, "client secret": peers.client_secret}
    wanted |= {f"first refresh token of {name}": first for name, first in peers.refresh.items()}
    for number, entry in enumerate(peers.issued()):
        wanted |= {f"{kind} token {number} of {entry['grant']}": entry[kind] for kind in ("access", "refresh")}
    names = [session.session for session in sessions]
    everything = list(texts(namespace, names))
    assert any(f"turn {sessions[0].turns} is done".encode() in content for _, content in everything), "it was read"
    assert [find for place, content in everything for find in search(place, content, wanted)] == []
    assert files(namespace, names, needles(wanted.values())) == []
    print(f"searched {len(everything)} texts and our containers' files for {len(wanted)} secrets")
