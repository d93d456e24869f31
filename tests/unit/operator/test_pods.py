"""The Pods we make: no secret outside the proxy, Pod Security `restricted`, and what their status means."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts import names, ports
from managed_agents.harness.settings import Settings
from managed_agents.kube.resources import Manifest
from managed_agents.operator.sessions.harness_pods import harness_deployment_for, runs_our_containers
from managed_agents.operator.sessions.pod_state import read_deployment, read_pod
from managed_agents.operator.sessions.policies import namespace_objects_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for, workspace_claim_for
from managed_agents.operator.settings import SessionSettings
from support.operator_values import ENVIRONMENT, NOW, session

SETTINGS = SessionSettings()
TOKEN = "a" * 64


def sandbox(**spec: Any) -> Manifest:
    environment = {**ENVIRONMENT, "spec": {"sandbox": spec}}
    return sandbox_pod_for(
        session(), environment, pod_name="ma-box", token_sha256=TOKEN, settings=SETTINGS, claim="ma-claim"
    )


def harness() -> Manifest:
    return harness_deployment_for(session(), ENVIRONMENT, SETTINGS)


def pod_specs() -> list[Manifest]:
    return [harness()["spec"]["template"]["spec"], sandbox()["spec"]]


def containers(spec: Manifest) -> list[Manifest]:
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.mark.parametrize("spec", pod_specs(), ids=["harness", "sandbox"])
def test_pods_pass_the_restricted_standard(spec: Manifest) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()


def test_tools_reach_the_supervisors_socket_and_cannot_replace_it() -> None:
    supervisor, tools = sandbox()["spec"]["containers"]
    mounts = [
        {mount["name"]: mount for mount in container["volumeMounts"]}["socket"] for container in (supervisor, tools)
    ]
    assert [mount.get("readOnly", False) for mount in mounts] == [False, True]


def test_tools_start_beside_the_supervisor_and_wait_for_the_runner_that_it_brings(tmp_path: Path) -> None:
    spec = sandbox()["spec"]
    assert "initContainers" not in spec
    supervisor, tools = spec["containers"]
    assert "startupProbe" not in supervisor
    runner = tmp_path / "runner.pyz"
    command = [*tools["command"][:-1], str(runner)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.2)
        (tmp_path / "new").write_text("import sys; print('runs', sys.flags.isolated, sys.flags.no_site)")
        (tmp_path / "new").rename(runner)
        assert started.communicate(timeout=5)[0] == "runs 1 1\n"


def test_only_the_proxy_mounts_token_and_keys() -> None:
    spec = harness()["spec"]["template"]["spec"]
    secret = {volume["name"] for volume in spec["volumes"] if "secret" in volume or "projected" in volume}
    assert secret == {"server-token", "providers", "vault"}
    holders = {
        container["name"]
        for container in containers(spec)
        if secret & {mount["name"] for mount in container["volumeMounts"]}
    }
    assert holders == {"proxy"}
    [providers] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "providers"]
    assert providers["optional"] is True
    [vault] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "vault"]
    assert (vault["secretName"], vault["optional"]) == (harness()["metadata"]["name"], True)
    assert not any(container.get("env") or container.get("envFrom") for container in containers(spec))


def test_what_the_harness_counts_outlives_its_container() -> None:
    spec = harness()["spec"]["template"]["spec"]
    _, container = spec["containers"]
    file = Path(Settings().readings_file)
    [mount] = [mount for mount in container["volumeMounts"] if file.is_relative_to(mount["mountPath"])]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
    assert volume["emptyDir"] == {"sizeLimit": "64Mi"}


def test_sandbox_has_no_identity_and_two_containers() -> None:
    spec = sandbox()["spec"]
    assert "serviceAccountName" not in spec
    supervisor, tools_container = spec["containers"]
    assert [supervisor["name"], tools_container["name"]] == ["supervisor", "tools"]
    meant = sandbox()["metadata"]["annotations"]
    assert meant == {"kubectl.kubernetes.io/default-container": "tools"}
    assert all("emptyDir" in volume for volume in spec["volumes"])
    assert supervisor["args"] == ["--token-sha256", TOKEN]
    tools = {mount["name"]: mount for mount in tools_container["volumeMounts"]}
    assert tools["runner"]["readOnly"] is True
    kept = {mount["name"]: mount for mount in supervisor["volumeMounts"]}
    assert (tools["uploads"]["readOnly"], "readOnly" in kept["uploads"]) == (True, False)
    assert ("readOnly" in tools["outputs"], kept["outputs"]["readOnly"]) == (False, True)
    assert "journal" not in tools


def test_environment_shapes_the_sandbox() -> None:
    pod = sandbox(
        image="python:3.12",
        runtimeClassName="gvisor",
        workspace={"size": "5Gi"},
        resources={"limits": {"cpu": "2", "memory": "32Mi"}},
        mounts=[{"mountPath": "/data/reference", "configMapRef": {"name": "reference"}}],
    )["spec"]
    supervisor, tools = pod["containers"]
    assert tools["image"] == "python:3.12"
    assert pod["runtimeClassName"] == "gvisor"
    outputs = {"name": "workspace", "mountPath": "/mnt/session/outputs", "subPath": "outputs"}
    assert outputs in tools["volumeMounts"]
    assert outputs | {"readOnly": True} in supervisor["volumeMounts"]
    assert tools["resources"]["limits"] == {"cpu": "2", "memory": "32Mi", "ephemeral-storage": "4Gi"}
    assert tools["resources"]["requests"] == {"cpu": "50m", "memory": "32Mi"}
    assert {"name": "mount-0", "mountPath": "/data/reference", "readOnly": True} in tools["volumeMounts"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume
    ]
    claim = workspace_claim_for(session(), {"size": "5Gi", "storageClassName": "standard"}, "ma-claim")
    assert claims == [claim["metadata"]["name"]]
    assert claim["spec"]["storageClassName"] == "standard"


def test_mounted_certificates_are_what_tools_trust() -> None:
    def variables(path: str) -> dict[str, str]:
        mounts = [{"mountPath": path, "configMapRef": {"name": "authorities"}}]
        return {item["name"]: item["value"] for item in sandbox(mounts=mounts)["spec"]["containers"][1]["env"]}

    trust = {name: value for name, value in variables("/certificates").items() if "ca-bundle" in value}
    assert set(trust.values()) == {"/certificates/ca-bundle.crt"}
    assert {"SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} == set(
        trust
    )
    assert not trust.keys() & variables("/data/certificates").keys()


def test_every_object_carries_the_labels_and_its_owner() -> None:
    for manifest in (harness(), sandbox(), workspace_claim_for(session(), {"size": "1Gi"}, "ma-claim")):
        labels = manifest["metadata"]["labels"]
        assert labels[names.LABEL_SESSION] == "repair"
        assert labels[names.LABEL_SESSION_UID] == session()["metadata"]["uid"]
        assert labels[names.LABEL_MANAGED_BY] == names.MANAGER
        assert manifest["metadata"]["ownerReferences"][0]["uid"] == session()["metadata"]["uid"]
        assert manifest["metadata"]["name"].startswith(names.PREFIX)


def test_policies_admit_the_supervisors_port_only_and_let_nothing_out() -> None:
    objects = {
        manifest["metadata"]["name"]: manifest
        for _, manifest in namespace_objects_for("team-a", system_namespace="sys")
    }
    box = objects["ma-sandbox"]["spec"]
    assert box["egress"] == []
    assert [rule["ports"] for rule in box["ingress"]] == [[{"port": ports.SUPERVISOR_PORT, "protocol": "TCP"}]]
    assert objects["ma-harness"].get("automountServiceAccountToken", False) is False


def test_pod_of_other_programs_is_not_ours() -> None:
    deployment = harness()
    pod = {"spec": deployment["spec"]["template"]["spec"]}
    assert runs_our_containers(pod, deployment)
    for change in ({"image": "evil"}, {"command": ["sh"]}, {"env": [{"name": "X", "value": "y"}]}):
        proxy, harness_container = pod["spec"]["containers"]
        for containers_of in ([{**proxy, **change}, harness_container], [proxy, {**harness_container, **change}]):
            assert not runs_our_containers({"spec": {**pod["spec"], "containers": containers_of}}, deployment)


def status_pod(**status: Any) -> Manifest:
    pod = sandbox()
    return {**pod, "metadata": {**pod["metadata"], "uid": "u"}, "status": status}


def container_status(name: str, state: Manifest, **more: Any) -> Manifest:
    return {"name": name, "image": "img", "restartCount": 0, "state": state, **more}


RUNNING: Manifest = {"running": {}}


def test_pod_runs_when_both_containers_do_and_it_has_an_address() -> None:
    supervisor, tools = (container_status(name, RUNNING) for name in ("supervisor", "tools"))
    up = {"containerStatuses": [supervisor], "podIP": "10.0.0.1", "phase": "Running"}
    assert not read_pod(status_pod(**up), NOW).is_running
    up["containerStatuses"] = [supervisor, tools]
    assert read_pod(status_pod(**up), NOW).is_running
    assert read_pod(status_pod(**up), NOW).address == "10.0.0.1"


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ImagePullBackOff", "ImagePullFailed"),
        ("ErrImageNeverPull", "ImagePullFailed"),
        ("CrashLoopBackOff", "PodFailed"),
    ],
)
def test_waiting_container_names_the_cause(waiting: str, reason: str) -> None:
    status = container_status("tools", {"waiting": {"reason": waiting, "message": "because"}})
    problem = read_pod(status_pod(containerStatuses=[status]), NOW).problem
    assert problem is not None
    assert problem.reason == reason
    assert "because" in problem.message


def test_unschedulable_counts_after_a_moment() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes",
        "lastTransitionTime": "2026-01-02T03:04:03Z",
    }
    pod = status_pod(conditions=[condition])
    young = read_pod(pod, NOW)
    assert young.problem is None
    assert young.recheck_seconds == 3
    old = read_pod(pod, NOW + timedelta(seconds=4))
    assert old.problem is not None
    assert old.problem.reason == "Unschedulable"


def test_lost_pods_say_why() -> None:
    evicted = read_pod(status_pod(phase="Failed", reason="Evicted", message="storage"), NOW)
    assert evicted.loss is not None
    assert evicted.loss.reason == "Evicted"
    killed = container_status("tools", {"terminated": {"reason": "OOMKilled", "exitCode": 137}})
    loss = read_pod(status_pod(phase="Failed", containerStatuses=[killed]), NOW).loss
    assert loss is not None
    assert loss.reason == "OOMKilled"
    deleting = status_pod(phase="Running")
    deleting["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    loss = read_pod(deleting, NOW).loss
    assert loss is not None
    assert loss.reason == "Deleted"


def test_restarts_for_lack_of_memory_are_counted() -> None:
    last = {"lastState": {"terminated": {"reason": "OOMKilled"}}, "restartCount": 2}
    assert read_pod(status_pod(containerStatuses=[container_status("tools", RUNNING, **last)]), NOW).oom_kills == 2


def test_deployment_that_may_not_make_its_pod_is_a_quota() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    problem = read_deployment({"status": {"conditions": [condition]}})
    assert problem is not None
    assert problem.reason == "QuotaExceeded"
    assert read_deployment({"status": {}}) is None
