"""An Environment's packages from its specification to a sandbox that waits for them, with the Job's life played."""

from typing import Any

import pytest

from managed_agents.contracts.packages import digest_of
from managed_agents.operator.packages.job import job_name_for
from managed_agents.operator.settings import SessionSettings
from support.kube import Manifest, kind_of
from support.operator_world import NAMESPACE, World
from support.requirements import requirement
from support.server import pod_token

PACKAGES = {"pip": ["requests==2.32.0"], "npm": ["semver"]}
CONFIG = {"type": "cloud", "packages": PACKAGES}
IMAGE = SessionSettings().sandbox_image


def digest_for(packages: dict[str, list[str]]) -> str:
    digest = digest_of({manager: tuple(packages[manager]) for manager in sorted(packages)}, IMAGE)
    assert digest is not None
    return digest


DIGEST = digest_for(PACKAGES)
JOB = job_name_for(DIGEST)


def make_pod(operated: World, *, name: str = "ma-packages-pod", job: str = JOB, **changes: Any) -> Manifest:
    """Be the Job controller."""
    made = operated.get("jobs", job)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": made["metadata"]["uid"], "controller": True}
    metadata = {"name": name, "labels": {"batch.kubernetes.io/job-name": job}, "ownerReferences": [owner]}
    spec = {**made["spec"]["template"]["spec"], **changes}
    return operated.kube.create(kind_of("pods"), NAMESPACE, {"metadata": metadata, "spec": spec})


def running(operated: World, container: str, *, name: str = "ma-packages-pod") -> None:
    statuses = [{"name": container, "state": {"running": {}}}]
    key = "containerStatuses" if container == "upload" else "initContainerStatuses"
    operated.kube.set_status("pods", NAMESPACE, name, **{key: statuses})


def end_job(operated: World, kind: str, **condition: Any) -> None:
    operated.kube.set_status("jobs", NAMESPACE, JOB, conditions=[{"type": kind, "status": "True", **condition}])


async def bring(operated: World, pod: Manifest, digest: str = DIGEST) -> int:
    """Be the container that uploads."""
    headers = {"Authorization": f"Bearer {pod_token(pod['metadata']['uid'])}"}
    url = f"{operated.server.internal_url}/internal/v1/packages/{NAMESPACE}/{digest}"
    async with operated.server.http.put(url, data=b"archive", headers=headers) as answer:
        return answer.status


def said(operated: World, plural: str = "environments", name: str = "python") -> tuple[str, str]:
    condition = operated.condition(plural, name, "Ready")
    return condition["reason"], condition["message"]


@requirement("packages")
async def test_packages_are_installed_once_and_progress_is_told(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    assert said(operated)[0] == "PackagesPending"
    assert operated.names("jobs") == [JOB]
    spec = operated.get("jobs", JOB)["spec"]["template"]["spec"]
    assert [item["name"] for item in spec["initContainers"]] == ["network", "install-npm", "install-pip"]
    assert operated.names("networkpolicies") == ["ma-harness", "ma-packages", "ma-sandbox"]

    pod = make_pod(operated)
    running(operated, "install-npm")
    await operated.advance(3)
    assert said(operated)[1].startswith("installing with npm (step 1 of 2) (npm: semver, pip: requests==2.32.0)")
    running(operated, "install-pip")
    await operated.advance(3)
    assert said(operated)[1].startswith("installing with pip (step 2 of 2)")
    assert await bring(operated, pod) == 200
    end_job(operated, "Complete")
    await operated.advance(3)
    assert said(operated) == ("Valid", "valid and usable")
    assert operated.get("environments", "python")["status"]["packagesDigest"] == DIGEST
    assert operated.names("jobs") == []
    assert await bring(operated, pod) == 403


async def test_a_session_waits_for_packages_and_its_sandbox_has_them(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    operated.session("repair", "Hello.")
    await operated.settle()
    reason, message = said(operated, "sessions", "repair")
    assert reason == "PackagesPending"
    assert message.startswith('the packages of Environment "python": ')
    assert operated.condition("sessions", "repair", "Reconciling")["status"] == "True"

    assert await bring(operated, await _registered(operated)) == 200
    await operated.advance(3)
    await operated.advance(3)
    assert said(operated, "sessions", "repair")[0] == "Accepted"
    turn = await operated.turn("repair", ends=False)
    name = await turn.ask_sandbox()
    await operated.settle()
    spec = operated.get("pods", name)["spec"]
    supervisor, tools = spec["containers"]
    assert supervisor["args"][-2:] == ["--packages-digest", DIGEST]
    mounts = {mount["name"]: mount for mount in tools["volumeMounts"]}
    assert mounts["packages"] == {"name": "packages", "mountPath": "/opt/packages", "readOnly": True}
    variables = {item["name"]: item["value"] for item in tools["env"]}
    assert variables["MANAGED_AGENTS_PATH"] == "/opt/packages/npm/bin:/opt/packages/pip/bin"
    assert (variables["PYTHONPATH"], variables["NODE_PATH"]) == (
        "/opt/packages/pip",
        "/opt/packages/npm/lib/node_modules",
    )


async def _registered(operated: World) -> Manifest:
    pod = make_pod(operated)
    await operated.advance(3)
    return pod


@requirement("packages-fail")
async def test_a_failure_shows_what_the_manager_said_and_deleting_the_job_tries_again(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    make_pod(operated)
    text = "ERROR: No matching distribution found for requests==2.32.0"
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": text}}
    operated.kube.set_status(
        "pods", NAMESPACE, "ma-packages-pod", initContainerStatuses=[{"name": "install-pip", "state": ended}]
    )
    end_job(operated, "Failed", reason="BackoffLimitExceeded", message="too many tries")
    await operated.advance(3)
    reason, message = said(operated)
    assert reason == "PackagesFailed"
    assert message.startswith(f"pip failed (Error, status 1): {text}\nChange spec.config.packages")
    operated.session("repair", "Hello.")
    await operated.settle()
    assert said(operated, "sessions", "repair")[0] == "PackagesFailed"
    assert operated.condition("sessions", "repair", "Stalled")["status"] == "True"
    assert ("Warning", "PackagesFailed") in operated.events()

    job = operated.get("jobs", JOB)
    operated.kube.delete(kind_of("jobs"), NAMESPACE, JOB, {"preconditions": {"uid": job["metadata"]["uid"]}})
    await operated.advance(30)
    assert said(operated)[0] == "PackagesPending"
    assert operated.names("jobs") == [JOB]


@requirement("packages-quota")
async def test_an_archive_that_has_no_room_is_a_failure_that_names_the_quota(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    make_pod(operated)
    text = "the server refuses the archive: status 400: the packages of namespace team-a exceed their quota of 9 bytes"
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": text}}
    operated.kube.set_status(
        "pods", NAMESPACE, "ma-packages-pod", containerStatuses=[{"name": "upload", "state": ended}]
    )
    end_job(operated, "Failed", reason="BackoffLimitExceeded", message="too many tries")
    await operated.advance(3)
    reason, message = said(operated)
    assert reason == "PackagesFailed"
    assert message.startswith(f"bringing the archive to the server failed (Error, status 1): {text}")


async def test_changed_packages_are_another_archive_and_what_nobody_wants_is_removed(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    assert await bring(operated, await _registered(operated)) == 200
    await operated.advance(3)
    changed = {"pip": ["flask"]}
    operated.change("environments", "python", {"config": {"packages": {"pip": ["flask"], "npm": None}}})
    await operated.settle()
    job = job_name_for(digest_for(changed))
    assert said(operated)[0] == "PackagesPending"
    assert job in operated.names("jobs")
    assert "packagesDigest" not in operated.get("environments", "python")["status"]
    assert await operated.operator.packages.collect() == 1
    assert await operated.operator.packages.collect() == 0


@requirement("packages-apart")
@pytest.mark.parametrize("change", [{"containers": []}, {"serviceAccountName": "other"}])
async def test_a_pod_that_runs_something_else_may_bring_nothing(operated: World, change: dict[str, Any]) -> None:
    await operated.catalog(config=CONFIG)
    pod = make_pod(operated, **change)
    await operated.advance(3)
    assert await bring(operated, pod) == 403


async def test_a_lost_archive_is_made_again(operated: World) -> None:
    await operated.catalog(config=CONFIG)
    first = operated.get("jobs", JOB)["metadata"]["uid"]
    end_job(operated, "Complete")
    await operated.advance(3)
    await operated.advance(3)
    assert said(operated)[0] == "PackagesPending"
    assert operated.get("jobs", JOB)["metadata"]["uid"] != first


async def test_an_environment_without_packages_asks_nobody(operated: World) -> None:
    await operated.catalog(config={"type": "cloud", "packages": {"pip": []}})
    assert said(operated)[0] == "Valid"
    assert operated.names("jobs") == []
