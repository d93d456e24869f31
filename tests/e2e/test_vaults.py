"""Vaults on the cluster: by YAML and by the SDK, seen by the proxy alone, rotated without a restart, in warm Pods."""

import json
import time
from typing import Any

import pytest

from support.cluster import (
    SYSTEM,
    KubectlError,
    Namespace,
    Object,
    environment,
    eventually,
    kubectl,
    managed,
    message,
    read_in_container,
    script,
)
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

FILE = "/run/managed-agents/vault/credentials.json"
"""Below /run, not /var/run: that is a link, and who reads from the node would follow it to the node's own folder."""

CANARY = "canary-b81e44"
WARM = "managedagents.dev/harness"


def vault(*credentials: Object) -> Object:
    return managed("Vault", "team", {"credentials": list(credentials)})


def bearer(name: str, secret: str) -> Object:
    token = {"secretKeyRef": {"name": secret, "key": "token"}}
    return {"name": name, "auth": {"type": "static_bearer", "mcpServerUrl": f"https://{name}.example", "token": token}}


def keep(namespace: Namespace, value: str) -> None:
    """Make or rotate the Secret of the Vault `team`."""
    metadata = {"name": "keys", "namespace": namespace.name}
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": value}})


def credentials(pod: Object, container: str = "proxy") -> list[Object]:
    """Return what a container finds in the file of the session's credentials."""
    content = read_in_container(pod, container, FILE)
    found: list[Object] = json.loads(content)["credentials"] if content else []
    return found


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def tokens(pod: Object) -> list[str]:
    return [item.get("token") or item.get("secret_value") or "" for item in credentials(pod)]


@pytest.fixture(scope="module")
def session(namespace: Namespace) -> tuple[str, str, list[str]]:
    """A session of the API with two vaults that has just worked: its name and id, and the ids of the vaults."""
    namespace.apply(environment("patient", idle_seconds=400))
    keep(namespace, f"{CANARY}-old")
    namespace.apply(vault(bearer("wiki", "keys")))
    eventually("the Vault is valid", lambda: namespace.condition("vault", "team", "Ready").get("status") == "True")
    client = namespace.client.beta
    made = client.vaults.create(display_name="by the SDK")
    auth: Any = {
        "type": "environment_variable",
        "secret_name": "KEY",
        "secret_value": f"{CANARY}-value",
        "networking": {"type": "limited", "allowed_hosts": ["*.weather.example"]},
    }
    credential = client.vaults.credentials.create(made.id, auth=auth)
    assert CANARY not in repr(client.vaults.credentials.retrieve(credential.id, vault_id=made.id))
    ids = [namespace.get("vault", "team")["status"]["id"], made.id]
    look = {"tool": "bash", "input": {"command": "env; cat /proc/self/environ; ls -R /var/run 2>&1"}}
    started = client.sessions.create(
        agent=namespace.get("agent", "bot")["status"]["id"],
        environment_id=namespace.get("environment", "patient")["status"]["id"],
        vault_ids=ids,
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": script(look)}]}],
    )
    assert started.vault_ids == ids

    def name() -> str | None:
        found = namespace.select("sessions")
        names = (item["metadata"]["name"] for item in found if item.get("status", {}).get("id") == started.id)
        return next(names, None)

    known = eventually("the session has a name", name)
    namespace.wait_idle(known)
    return known, started.id, ids


@requirement("vault-credentials", "I16")
def test_the_proxy_alone_finds_what_the_vaults_hold(namespace: Namespace, session: tuple[str, str, list[str]]) -> None:
    name, session_id, ids = session
    [pod] = namespace.pods(name, "harness")
    eventually("both credentials are there", lambda: len(credentials(pod)) == 2, seconds=30)
    document = json.loads(read_in_container(pod, "proxy", FILE) or "{}")
    assert document["session_id"] == session_id
    assert [(item["vault_id"], item["type"]) for item in document["credentials"]] == [
        (ids[0], "static_bearer"),
        (ids[1], "environment_variable"),
    ]
    assert tokens(pod) == [f"{CANARY}-old", f"{CANARY}-value"]
    assert read_in_container(pod, "harness", FILE) is None
    assert CANARY not in (read_in_container(pod, "harness", "environ") or "")
    [sandbox] = namespace.pods(name, "sandbox")
    for container in ("tools", "supervisor"):
        assert read_in_container(sandbox, container, FILE) is None
        assert CANARY not in (read_in_container(sandbox, container, "environ") or "")


@requirement("vault-credentials")
def test_no_secret_of_a_vault_is_written_anywhere_else(
    namespace: Namespace, session: tuple[str, str, list[str]]
) -> None:
    name, session_id, _ = session
    kinds = "pods,deployments,replicasets,sessions,vaults,agents,environments,configmaps,events,controllerrevisions"
    assert CANARY not in kubectl("get", kinds, "-n", namespace.name, "-o", "json", "--show-managed-fields")
    for pod in namespace.pods(name):
        log = kubectl("logs", "-n", namespace.name, pod["metadata"]["name"], "--all-containers", "--tail=-1")
        assert CANARY not in log, pod["metadata"]["name"]
    for workload in ("deployment/managed-agents-operator", "statefulset/managed-agents-server"):
        assert CANARY not in kubectl("logs", "-n", SYSTEM, workload, "--tail=-1"), workload
    assert CANARY not in json.dumps(namespace.events(name))
    assert CANARY not in namespace.client.beta.sessions.retrieve(session_id).to_json()


@requirement("vault-credentials", "F23")
def test_a_rotated_secret_is_there_within_a_minute(namespace: Namespace, session: tuple[str, str, list[str]]) -> None:
    [pod] = namespace.pods(session[0], "harness")
    restarts = [status["restartCount"] for status in pod["status"]["containerStatuses"]]
    started = time.monotonic()
    keep(namespace, f"{CANARY}-new")
    eventually("the new token is there", lambda: tokens(pod)[:1] == [f"{CANARY}-new"], seconds=60)
    print(f"rotated in {time.monotonic() - started:.1f} s")
    [after] = namespace.pods(session[0], "harness")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert [status["restartCount"] for status in after["status"]["containerStatuses"]] == restarts
    kubectl("delete", "secret", "-n", namespace.name, "keys")
    eventually("the old one is unusable", lambda: tokens(pod) == [f"{CANARY}-value"], seconds=60)
    assert namespace.condition("vault", "team", "Ready")["reason"] == "SecretNotFound"


@requirement("A32")
def test_a_tenant_binds_no_secret_that_it_may_not_get(namespace: Namespace) -> None:
    user = f"--as=system:serviceaccount:{namespace.name}:developer"
    wanted = json.dumps(managed("Vault", "foreign", {"credentials": [bearer("a", "simulator-key")]}))
    with pytest.raises(KubectlError, match='may not get Secret "simulator-key"'):
        kubectl("apply", user, "-n", namespace.name, "-f", "-", stdin=wanted)


@requirement("vault-credentials", "warm-harness")
def test_a_pod_older_than_its_session_finds_the_credentials(namespace: Namespace) -> None:
    box = environment("warm")
    box["spec"]["harness"] |= {"warmReplicas": 1, "maxWarmReplicas": 1, "idleTimeoutSeconds": 300}
    keep(namespace, f"{CANARY}-warm")
    namespace.apply(vault(bearer("wiki", "keys")), box)

    def free() -> Object | None:
        pods = namespace.select("pods", f"managedagents.dev/pool,{WARM}")
        return next((pod for pod in pods if is_ready(pod)), None)

    pod = eventually("a warm harness is ready", free, seconds=90)
    assert credentials(pod) == []
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "warm"}, "vaultRefs": [{"name": "team"}]}
    events = [message("first", script({"text": "here already"}))]
    started = time.monotonic()
    namespace.apply(managed("Session", "swift", {**spec, "events": events}))
    eventually("its credentials are there", lambda: tokens(pod) == [f"{CANARY}-warm"], seconds=30)
    print(f"in a warm Pod {time.monotonic() - started:.1f} s after the session was applied")
    assert namespace.wait_idle("swift")["status"]["harness"]["deploymentName"] == pod["metadata"]["labels"][WARM]
    kubectl("delete", "-n", namespace.name, "session", "swift", "--timeout=30s")
    namespace.wait_nothing_left("swift")
