"""Archives of installed packages at the internal API: who may bring, look and take them."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from managed_agents.filestore.contents import RESERVE_BYTES_MAX
from managed_agents.server.services.packages import Archive, PackageStore
from support.requirements import requirement
from support.server import TestServer, pod_token, server_in_process

DIGEST = "0123456789abcdef" * 2
ARCHIVE = f"/packages/team-a/{DIGEST}"
CONTENT = bytes(range(256)) * 8192


async def _bring(server: TestServer, pod_uid: str, path: str = ARCHIVE, content: bytes = CONTENT) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {pod_token(pod_uid)}"}
    async with server.http.put(
        f"{server.internal_url}/internal/v1{path}", data=io.BytesIO(content), headers=headers
    ) as answer:
        return answer.status, await answer.json()


async def _register(server: TestServer, pod_uid: str, digest: str = DIGEST) -> int:
    body = {"namespace": "team-a", "digest": digest}
    status, _ = await server.operator("PUT", f"/package-pods/{pod_uid}", body)
    return status


async def _take(server: TestServer, pod_uid: str, session: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {pod_token(pod_uid)}"}
    url = f"{server.internal_url}/internal/v1/sessions/{session}/packages/{DIGEST}"
    async with server.http.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


@requirement("packages-apart")
async def test_an_archive_is_brought_once_registered_and_taken_by_a_session_of_its_namespace(
    server: TestServer,
) -> None:
    assert (await server.operator("GET", ARCHIVE))[0] == 404
    assert (await _bring(server, "pod-i"))[1]["error"]["type"] == "not_registered"
    assert await _register(server, "pod-i") == 204
    assert await _bring(server, "pod-i") == (200, {"size_bytes": len(CONTENT)})
    assert await server.operator("GET", ARCHIVE) == (200, {"size_bytes": len(CONTENT)})
    assert await server.operator("GET", "/packages") == (200, {"packages": [{"namespace": "team-a", "digest": DIGEST}]})

    session = await server.create()
    assert (await _take(server, "pod-1", session))[0] == 403
    await server.register(session)
    assert await _take(server, "pod-1", session) == (200, CONTENT)
    other = await server.create("elsewhere", namespace="team-b")
    await server.operator(
        "PUT",
        "/harness-pods/pod-b",
        {"namespace": "team-b", "pod_name": "b", "deployment_uid": "b", "session_id": other},
    )
    assert (await _take(server, "pod-b", other))[0] == 404


async def test_a_pod_brings_only_the_archive_it_is_registered_for(server: TestServer) -> None:
    await _register(server, "pod-i", "f" * 32)
    assert (await _bring(server, "pod-i"))[0] == 403
    await _register(server, "pod-i")
    assert (await _bring(server, "pod-i", f"/packages/team-b/{DIGEST}"))[0] == 403
    await server.operator("DELETE", "/package-pods/pod-i")
    assert (await _bring(server, "pod-i"))[0] == 403
    assert (await server.operator("GET", "/packages"))[1] == {"packages": []}


async def test_a_removed_archive_is_gone_and_removing_it_again_is_success(server: TestServer) -> None:
    await _register(server, "pod-i")
    await _bring(server, "pod-i")
    assert [(await server.operator("DELETE", ARCHIVE))[0] for _ in range(2)] == [204, 204]
    assert (await server.operator("GET", ARCHIVE))[0] == 404


@pytest.mark.parametrize("path", ["/packages/team-a/abc", "/packages/..%2Fx/" + DIGEST, "/packages/A/" + DIGEST])
async def test_a_path_that_names_no_archive_is_refused(server: TestServer, path: str) -> None:
    assert (await server.operator("GET", path))[0] in {400, 404}


async def test_only_the_operator_looks_and_registers(server: TestServer) -> None:
    headers = {"Authorization": f"Bearer {pod_token('pod-1')}"}
    for method, path in (("GET", "/packages"), ("GET", ARCHIVE), ("DELETE", ARCHIVE), ("PUT", "/package-pods/pod-1")):
        url = f"{server.internal_url}/internal/v1{path}"
        async with server.http.request(method, url, headers=headers, json={}) as answer:
            assert answer.status == 403, path


async def test_an_archive_leaves_the_event_log_its_room(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await _register(server, "pod-i")
    full = shutil._ntuple_diskusage(total=10 * 1024**3, used=10 * 1024**3, free=RESERVE_BYTES_MAX)
    monkeypatch.setattr("managed_agents.filestore.contents.shutil.disk_usage", lambda _: full)
    status, answer = await _bring(server, "pod-i")
    assert (status, answer["error"]["type"]) == (507, "volume_full")
    assert (await server.operator("GET", ARCHIVE))[0] == 404


@requirement("packages-quota")
async def test_archives_of_a_namespace_meet_its_quota_and_another_has_its_own(tmp_path: Path) -> None:
    async with server_in_process(tmp_path, packages_bytes_max=len(CONTENT) + 1000) as server:
        second = "f" * 32
        for digest in (DIGEST, second):
            await _register(server, f"pod-{digest[0]}", digest)
        assert (await _bring(server, "pod-0"))[0] == 200
        assert (await _bring(server, "pod-0"))[0] == 200, "it takes its own place"
        status, answer = await _bring(server, "pod-f", f"/packages/team-a/{second}")
        assert status == 400
        assert "the packages of namespace team-a exceed their quota of" in answer["error"]["message"]
        assert "--packages-bytes-max" in answer["error"]["message"]
        assert [path.name for path in (tmp_path / "packages" / "team-a").iterdir()] == [f"{DIGEST}.tar.gz"]
        await server.operator("DELETE", ARCHIVE)
        assert (await _bring(server, "pod-f", f"/packages/team-a/{second}"))[0] == 200
        await server.operator("PUT", "/package-pods/pod-b", {"namespace": "team-b", "digest": DIGEST})
        assert (await _bring(server, "pod-b", f"/packages/team-b/{DIGEST}"))[0] == 200


async def test_what_a_crash_left_of_an_archive_goes_at_the_next_start(tmp_path: Path) -> None:
    kept, left = (tmp_path / "team-a" / name for name in (f"{DIGEST}.tar.gz", f".incoming-{DIGEST}-pod-i"))
    kept.parent.mkdir()
    for path in (kept, left):
        path.write_bytes(CONTENT)
    store = PackageStore(tmp_path)
    assert (await store.listed(), left.exists()) == ([Archive(namespace="team-a", digest=DIGEST)], False)
