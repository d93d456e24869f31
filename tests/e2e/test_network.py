"""A sandbox's way out on the cluster, and packages that cannot be had: what a user sees of both."""

import pytest

from support.cluster import Namespace, eventually, managed, message, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

INSTALL_SECONDS = 300


@requirement("network", "A7")
def test_tools_reach_nothing_internal_through_their_proxy(namespace: Namespace) -> None:
    namespace.apply(managed("Environment", "open", {"config": {"type": "cloud"}}))
    hosts = (
        "kubernetes.default.svc",
        "169.254.169.254",
        "localhost.",
        "managed-agents-server.managed-agents-system.svc",
    )
    look = "; ".join(f"curl -sS -m 20 --noproxy '' http://{host}/" for host in hosts)
    tool = {"tool": "bash", "input": {"command": look}}
    namespace.create_session("curious", message("first", script(tool)), environment="open")
    namespace.wait_idle("curious")
    (result,) = [event for event in namespace.events("curious") if event["type"] == "agent.tool_result"]
    said = result["content"][0]["text"].splitlines()
    assert [line.startswith("sandbox network: ") for line in said] == [True] * len(hosts), said
    assert "kubernetes.default.svc is a name inside the cluster" in said[0]
    assert "169.254.169.254 has no public address" in said[1]


@requirement("packages-fail")
def test_packages_that_cannot_be_had_say_so_and_their_session_waits(namespace: Namespace) -> None:
    config = {"type": "cloud", "packages": {"pip": ["no-such-package-of-managed-agents==0.0.1"]}}
    namespace.apply(managed("Environment", "equipped", {"config": config}))
    namespace.create_session("waiting", message("first", "Hello."), environment="equipped")

    def failed() -> str | None:
        ready = namespace.condition("environment", "equipped", "Ready")
        assert ready.get("reason") in (None, "PackagesPending", "PackagesFailed"), ready
        return ready["message"] if ready.get("reason") == "PackagesFailed" else None

    text = eventually("the installation has failed", failed, seconds=INSTALL_SECONDS)
    assert text.startswith("pip failed")
    assert "no-such-package-of-managed-agents" in text

    def told() -> bool:
        return namespace.condition("session", "waiting", "Ready").get("reason") == "PackagesFailed"

    eventually("the session says what it waits for", told)
