"""Packages of an Environment on the cluster: fetched once by its Job, kept, and there before the first call."""

import pytest

from support.cluster import Namespace, Object, egress_rules, eventually, kubectl, managed, message, script
from support.requirements import requirement
from support.server_pod import file_server
from support.wheels import wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

INSTALL_SECONDS = 240
WHEEL = "greeting-1.0-py3-none-any.whl"


@requirement("packages")
def test_packages_are_installed_once_and_are_there_before_the_first_call(namespace: Namespace) -> None:
    index = file_server(namespace, "index", {WHEEL: wheel("greeting", "hello from a package")})
    host, address = index.host, index.address
    rules = {"allowed_hosts": [host], "allowed_cidrs": [address], "registries": {"pip": [host]}}
    networking = {"type": "limited", "allowPackageManagers": True}
    packages = {"pip": [f"greeting@http://{host}/{WHEEL}"]}
    look = script({"tool": "bash", "input": {"command": "python3 -c 'import greeting; print(greeting.TEXT)'"}})
    with egress_rules(rules):
        config = {"type": "cloud", "networking": networking, "packages": packages}
        namespace.apply(managed("Environment", "equipped", {"config": config}))
        namespace.create_session("first", message("look", look), environment="equipped")

        def installed() -> bool:
            ready = namespace.condition("environment", "equipped", "Ready")
            assert ready.get("reason") != "PackagesFailed", ready["message"]
            return ready.get("status") == "True"

        eventually("the packages are installed", installed, seconds=INSTALL_SECONDS)
        digest = namespace.get("environment", "equipped")["status"]["packagesDigest"]
        eventually("the Job is gone", lambda: not jobs(namespace))
        assert said(namespace, "first") == "hello from a package"
        kubectl("delete", "pod", "-n", namespace.name, "index")
        namespace.create_session("second", message("look", look), environment="equipped")
        assert said(namespace, "second") == "hello from a package", "kept at the server: the index is gone"
        assert namespace.get("environment", "equipped")["status"]["packagesDigest"] == digest
        assert jobs(namespace) == []


def jobs(namespace: Namespace) -> list[Object]:
    """The Jobs that install packages."""
    return [job for job in namespace.select("jobs") if job["metadata"]["name"].startswith("ma-packages-")]


def said(namespace: Namespace, session: str) -> str:
    """What the tool of a session printed, once the session is idle."""
    namespace.wait_idle(session, seconds=180)
    (result,) = [event for event in namespace.events(session) if event["type"] == "agent.tool_result"]
    text: str = result["content"][0]["text"]
    return text.strip()
