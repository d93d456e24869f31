"""A session's repositories with a token: a real git and a real Git server, with the proxy's gateway between them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.git_server import GitServer, git_server
from support.repositories import OPEN, Gateway, gateway_running
from support.requirements import requirement

TOKEN = "canary-4be1"
SPELLINGS = (TOKEN, base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(), TOKEN[::-1])


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "forge", tls="forge.example") as made:
        made.tokens.add(TOKEN)
        made.make("private/tool")
        made.make("private/tool2")
        made.make("private/other")
        yield made


@pytest.fixture
async def gateway(tmp_path: Path, forge: GitServer, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[Gateway]:
    """A gateway for `private/tool`. Whatever a test does, nobody but the forge ever sees the token."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    async with gateway_running(folder, forge) as made:
        made.grant(entry(forge))
        await made.stand_in("private/tool")
        yield made
    logged = "".join(capfd.readouterr())
    seen = [*made.outputs, logged, *(path.read_text("latin-1") for path in _files(folder))]
    assert not [spelling for spelling in SPELLINGS for text in seen if spelling in text]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "credentials.json"]


def entry(forge: GitServer, name: str = "private/tool", **fields: Any) -> dict[str, Any]:
    return {"id": "sesrsc_1", "url": forge.url(name), "token": TOKEN, **fields}


def address(gateway: Gateway, path: str, host: str = "git") -> str:
    return f"http://{host}.session.internal/forge.example:{gateway.forge.port}/{path}"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def committed(gateway: Gateway, branch: str = "main") -> Path:
    """Clone, commit on a branch, and return the clone."""
    clone = gateway.folder / "clone"
    done = await gateway.git("clone", "-q", gateway.forge.url("private/tool"), str(clone))
    assert done.status == 0, done.text
    (clone / "README").write_text("third\n")
    await gateway.git("checkout", "-q", "-B", branch, folder=clone)
    done = await gateway.git("commit", "-q", "-a", "-m", "third", folder=clone)
    assert done.status == 0, done.text
    return clone


@requirement("repositories-token", "A21")
async def test_plain_git_clones_fetches_and_pushes_with_the_address_of_the_host(gateway: Gateway) -> None:
    clone = await committed(gateway)
    done = await gateway.git("push", "-q", "origin", "main", folder=clone)
    assert (done.status, done.text) == (0, "")
    assert gateway.forge.head("private/tool", "refs/heads/main") == "third"
    assert (await gateway.git("fetch", "-q", folder=clone)).status == 0
    remote = await gateway.git("remote", "get-url", "--push", "origin", folder=clone)
    assert remote.text.startswith("http://git.session.internal/forge.example:")
    config = (clone / ".git" / "config").read_text()
    assert f"url = {gateway.forge.url('private/tool')}\n" in config


@requirement("repositories-token")
async def test_a_large_push_is_streamed_in_chunks(gateway: Gateway) -> None:
    clone = await committed(gateway)
    (clone / "large").write_bytes(bytes(range(256)) * 1024 + (b"%x" % 7**400000))
    await gateway.git("add", ".", folder=clone)
    await gateway.git("commit", "-q", "-m", "large", folder=clone)
    done = await gateway.git("-c", "http.postBuffer=65536", "push", "-q", "origin", "main", folder=clone)
    assert done.status == 0, done.text
    assert gateway.forge.head("private/tool", "refs/heads/main") == "large"
    assert any(seen.get("transfer-encoding") == "chunked" for seen in gateway.forge.seen)
    again = await gateway.git("clone", "-q", gateway.forge.url("private/tool"), "again")
    assert again.status == 0, again.text
    assert (gateway.folder / "again" / "large").read_bytes() == (clone / "large").read_bytes()


@requirement("repositories-token")
async def test_requests_that_git_packs_pass_as_they_are(gateway: Gateway) -> None:
    gateway.forge.branch("private/tool", 40)
    done = await gateway.git("clone", "-q", gateway.forge.url("private/tool"), "clone")
    assert done.status == 0, done.text
    assert any(seen.get("content-encoding") == "gzip" for seen in gateway.forge.seen)


@requirement("repositories-token")
async def test_a_token_that_comes_after_the_session_is_waited_for(gateway: Gateway) -> None:
    gateway.file.unlink()
    gateway.repositories.configure({**OPEN, "resources": [{"id": "sesrsc_1", "has_token": True}]})
    path = "private/tool/info/refs?service=git-upload-pack"
    asked = asyncio.ensure_future(gateway.raw("GET", address(gateway, path)))
    await asyncio.wait({asked}, timeout=0.3)
    assert not asked.done()
    gateway.grant(entry(gateway.forge))
    assert status_of(await asked) == 200


@requirement("A21")
@pytest.mark.parametrize(
    "path",
    [
        "private/other/info/refs?service=git-upload-pack",
        "private/tool2/info/refs?service=git-receive-pack",
        "private/tool2/git-upload-pack",
        "private/tool/../other/info/refs?service=git-upload-pack",
        "private/tool/%2e%2e/other/info/refs?service=git-upload-pack",
        "private/tool%2f..%2fother/info/refs?service=git-upload-pack",
        "private%2ftool/info/refs?service=git-upload-pack",
        "private/tool/%252e%252e/other/info/refs?service=git-upload-pack",
        "private//tool/info/refs?service=git-upload-pack",
        "private/tool/..;/other/info/refs?service=git-upload-pack",
        "private/tool\\..\\other/info/refs?service=git-upload-pack",
        "private/tool/info/refs",
        "private/tool/info/refs?service=git-upload-pack&service=git-upload-archive",
        "private/tool/info/refs?service=git-upload-archive",
        "private/tool/HEAD",
        "private/tool/objects/info/packs",
        "private/tool/.git/config",
        "api/v1/repos/private/tool",
        "",
    ],
)
async def test_what_is_not_the_smart_protocol_of_the_granted_repository_reaches_nobody(
    gateway: Gateway, path: str
) -> None:
    answer = await gateway.raw("GET", address(gateway, path))
    assert status_of(answer) in {400, 403}
    assert b"repository_forbidden_error: " in answer
    assert gateway.forge.requests == []


@requirement("A21")
@pytest.mark.parametrize("spelling", ["Private/TOOL", "private/tool.git", "private/t%6fol"])
async def test_another_spelling_of_the_granted_repository_is_that_repository(gateway: Gateway, spelling: str) -> None:
    path = f"{spelling}/info/refs?service=git-upload-pack"
    host = f"http://git.session.internal/FORGE.example.:{gateway.forge.port}/"
    assert status_of(await gateway.raw("GET", host + path)) == 200
    assert gateway.forge.requests == ["/private/tool/info/refs?service=git-upload-pack"]


@requirement("A21")
async def test_another_repository_is_refused_to_git_in_words(gateway: Gateway) -> None:
    other = await gateway.git("clone", address(gateway, "private/other"), "other")
    assert other.status != 0
    assert "remote: repository_forbidden_error: the session has no token for forge.example/private/other" in other.text
    filled = await gateway.git("credential", "fill")
    assert filled.status != 0
    assert gateway.forge.requests == []


@requirement("A21")
async def test_an_address_that_begins_like_the_granted_one_is_read_without_the_token(gateway: Gateway) -> None:
    gateway.forge.make("private/tool-docs")
    gateway.forge.make("open/tool")
    gateway.forge.make("open/tool-docs")
    gateway.grant(entry(gateway.forge), entry(gateway.forge, "open/tool"))
    await gateway.stand_in("open/tool")
    (gateway.folder / "ca.pem").write_text(gateway.forge.certificate)
    trusting = ("-c", f"http.sslCAInfo={gateway.folder / 'ca.pem'}")
    done = await gateway.git(*trusting, "clone", "-q", gateway.forge.url("open/tool-docs"), "docs")
    assert done.status == 0, done.text
    refused = await gateway.git(*trusting, "clone", "-q", gateway.forge.url("private/tool-docs"), "private")
    assert refused.status != 0
    assert len(gateway.forge.seen) >= 3
    assert not any("authorization" in seen for seen in gateway.forge.seen)


@requirement("A19")
async def test_what_a_caller_says_of_itself_does_not_pass(gateway: Gateway) -> None:
    headers = (
        "Authorization: Basic eDp5",
        "Cookie: a=b",
        "X-Api-Key: k",
        "Private-Token: t",
        "X-HTTP-Method-Override: PUT",
    )
    path = "private/tool/info/refs?service=git-upload-pack"
    assert status_of(await gateway.raw("GET", address(gateway, path), *headers)) == 200
    (seen,) = gateway.forge.seen
    assert seen["authorization"] == f"Basic {SPELLINGS[1]}"
    assert not {"cookie", "x-api-key", "private-token", "x-http-method-override"} & set(seen)


@requirement("A18")
@pytest.mark.parametrize("host", ["git", "api"])
async def test_a_redirect_is_not_followed_and_not_passed_on(gateway: Gateway, host: str) -> None:
    gateway.forge.redirect = f"{gateway.forge.url('private/other')}?token=signed"
    path = "private/tool/info/refs?service=git-upload-pack" if host == "git" else "api/v1/repos/private/tool"
    answer = await gateway.raw("GET", address(gateway, path, host))
    assert status_of(answer) == 502
    assert b"signed" not in answer
    assert len(gateway.forge.requests) == 1


@requirement("repositories-push-refs")
async def test_only_the_refs_that_may_be_pushed_are(gateway: Gateway) -> None:
    gateway.grant(entry(gateway.forge, push_refs=["refs/heads/agent/*"]))
    clone = await committed(gateway, "agent/work")
    done = await gateway.git("push", "-q", "origin", "agent/work", folder=clone)
    assert done.status == 0, done.text
    for refspec in ("HEAD:refs/heads/main", ":refs/heads/other", "HEAD:refs/tags/v1", "HEAD:refs/heads/agent"):
        refused = await gateway.git("push", "origin", refspec, "HEAD:refs/heads/agent/more", folder=clone)
        assert refused.status != 0
        assert "not allowed by this session: refs/heads/agent/* may be pushed" in refused.text
        assert "another ref of this push is not allowed" in refused.text
    forge = gateway.forge
    assert forge.head("private/tool", "refs/heads/main") == "second"
    assert forge.head("private/tool", "refs/heads/other") == "first"
    assert forge.head("private/tool", "refs/heads/agent/") == "third"
    posts = [path for path in forge.requests if path.endswith("/git-receive-pack")]
    assert len(posts) == 1
    options = await gateway.git("push", "-o", "merge_request.create", "origin", "agent/work:agent/b", folder=clone)
    assert options.status != 0


@requirement("repositories-push-refs")
async def test_a_repository_may_be_for_reading_alone(gateway: Gateway) -> None:
    gateway.grant(entry(gateway.forge, push_refs=[]))
    clone = await committed(gateway)
    refused = await gateway.git("push", "origin", "main", folder=clone)
    assert refused.status != 0
    assert "remote: repository_forbidden_error: nothing may be pushed to this repository" in refused.text
    body = b"0000"
    answer = await gateway.raw("POST", address(gateway, "private/tool/git-receive-pack"), body=body)
    assert status_of(answer) == 403


@requirement("repositories-push-refs")
async def test_a_push_that_cannot_be_read_is_refused_where_refs_are_restricted(gateway: Gateway) -> None:
    gateway.grant(entry(gateway.forge, push_refs=["refs/heads/agent/*"]))
    zeros = "0" * 40
    line = f"{zeros} {zeros} refs/heads/main\0report-status"
    bodies = (b"zz", b"0003", b"0010push-cert\0x\n0000", f"{len(line) + 4:04x}{line}".encode(), b"00")
    for body in bodies:
        answer = await gateway.raw("POST", address(gateway, "private/tool/git-receive-pack"), body=body)
        assert status_of(answer) == 403, body
    packed = ("Content-Encoding: gzip",)
    answer = await gateway.raw("POST", address(gateway, "private/tool/git-receive-pack"), *packed, body=b"0000")
    assert status_of(answer) == 403
    assert gateway.forge.requests == []


@requirement("repositories-token", "F23")
async def test_a_new_token_is_used_at_once_and_the_old_one_no_more(gateway: Gateway) -> None:
    clone = await committed(gateway)
    gateway.forge.tokens = {"fresh-4be1"}
    refused = await gateway.git("fetch", folder=clone)
    assert "remote: repository_authentication_error: forge.example does not accept" in refused.text
    gateway.grant(entry(gateway.forge, token="fresh-4be1"))
    assert (await gateway.git("fetch", "-q", folder=clone)).status == 0
    gateway.grant(entry(gateway.forge, token=None, problem='Secret "gone" not found'))
    missing = await gateway.git("fetch", folder=clone)
    assert 'repository_authentication_error: the session\'s token is missing: Secret "gone" not found' in missing.text
    assert not any("fresh-4be1" in output for output in gateway.outputs)


@requirement("repositories-fail")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "repository_authentication_error"),
        (403, "repository_forbidden_error"),
        (404, "repository_not_found_error"),
        (500, "repository_clone_error"),
    ],
)
async def test_a_refusal_of_the_host_has_the_sessions_word_and_none_of_the_hosts(
    gateway: Gateway, status: int, kind: str
) -> None:
    gateway.forge.status = status
    done = await gateway.git("clone", gateway.forge.url("private/tool"), "clone")
    assert done.status != 0
    assert f"remote: {kind}: forge.example " in done.text
    assert "you sent" not in done.text


@requirement("repositories-fail", "A17")
async def test_a_host_that_may_not_be_reached_gets_no_token(gateway: Gateway, tmp_path: Path) -> None:
    limited = {"networking": {"type": "limited", "allowed_hosts": ["api.forge.example"]}}
    gateway.repositories.configure({"environment": {"config": limited}})
    path = "private/tool/info/refs?service=git-upload-pack"
    answer = await gateway.raw("GET", address(gateway, path))
    assert b"repository_forbidden_error: forge.example is not allowed by this environment" in answer
    allowed = {"networking": {"type": "limited", "allowed_hosts": ["forge.example"]}}
    gateway.repositories.configure({"environment": {"config": allowed}})
    assert status_of(await gateway.raw("GET", address(gateway, path))) == 200
    async with gateway_running(tmp_path, gateway.forge, allowed=()) as closed:
        closed.grant(entry(gateway.forge))
        answer = await closed.raw("GET", address(closed, path))
        assert b"repository_forbidden_error: forge.example has no public address" in answer
    async with gateway_running(tmp_path, gateway.forge, authorities=()) as distrustful:
        answer = await distrustful.raw("GET", address(distrustful, path))
        assert b"repository_clone_error: forge.example does not answer: its TLS certificate is not trusted" in answer
    assert len(gateway.forge.requests) == 1


@requirement("repositories-api")
async def test_the_rest_api_of_the_repository_is_reached_with_the_token(gateway: Gateway) -> None:
    body = b'{"title": "Fix", "head": "agent/fix", "base": "main"}'
    json = "Content-Type: application/json"
    url = address(gateway, "api/v1/repos/private/tool/pulls?draft=true", "api")
    answer = await gateway.raw("POST", url, json, "Authorization: token mine", body=body)
    head, _, content = answer.partition(b"\r\n\r\n")
    assert status_of(head) == 200
    assert b'"path": "/api/v1/repos/private/tool/pulls?draft=true"' in content
    assert gateway.forge.seen[-1]["authorization"] == f"token {TOKEN}"
    assert b"token %s" % (b"*" * len(TOKEN)) in content  # this host repeats what it gets
    project = address(gateway, "api/v4/projects/private%2Ftool/repository/branches/agent%2Ffix", "api")
    assert status_of(await gateway.raw("GET", project)) == 200
    assert gateway.forge.requests[-1] == "/api/v4/projects/private%2Ftool/repository/branches/agent%2Ffix"
    assert gateway.forge.seen[-1]["authorization"] == f"Bearer {TOKEN}"


@requirement("repositories-api", "A21")
@pytest.mark.parametrize(
    "path",
    [
        "api/v1/user",
        "api/v1/repos/private/other",
        "api/v1/repos/private/tool/../other",
        "api/v1/repos/private/tool/%2e%2e/other",
        "api/v1/repos/private/tool/..%2f..%2fother",
        "api/v1/repos/private/tool2/issues",
        "api/v1/repos/private%2ftool/issues",
        "api/v4/projects/private%2Fother/issues",
        "api/v4/projects/private%2Ftool%2F..%2Fother",
        "api/v4/projects/17",
        "api/graphql",
        "private/tool/info/refs?service=git-upload-pack",
    ],
)
async def test_nothing_else_of_the_rest_api_is_reached(gateway: Gateway, path: str) -> None:
    answer = await gateway.raw("GET", address(gateway, path, "api"))
    assert status_of(answer) in {400, 403}
    assert gateway.forge.requests == []


@requirement("repositories-push-refs", "repositories-api")
async def test_the_rest_api_moves_no_refs_where_pushes_are_restricted(gateway: Gateway) -> None:
    gateway.grant(entry(gateway.forge, push_refs=["refs/heads/agent/*"]))
    root = "api/v1/repos/private/tool"
    for path in ("pulls/7/merge", "contents/README", "git/refs", "branches", "", "pulls/7/update"):
        answer = await gateway.raw("POST", address(gateway, f"{root}/{path}".rstrip("/"), "api"), body=b"{}")
        assert status_of(answer) == 403, path
    assert gateway.forge.requests == []
    for path in ("pulls", "pulls/7/comments", "issues/3/labels"):
        assert status_of(await gateway.raw("POST", address(gateway, f"{root}/{path}", "api"), body=b"{}")) == 200


@requirement("A21")
async def test_the_names_mean_nothing_where_there_is_no_grant_or_no_plain_request(gateway: Gateway) -> None:
    for authority in ("git.session.internal:443", "api.session.internal:80"):
        assert status_of(await gateway.raw("CONNECT", authority)) == 403
    gateway.file.unlink()
    answer = await gateway.raw("GET", address(gateway, "private/tool/info/refs?service=git-upload-pack"))
    assert status_of(answer) == 403
    gateway.grant({"url": 5, "token": TOKEN})
    broken = await gateway.raw("GET", address(gateway, "private/tool/info/refs?service=git-upload-pack"))
    assert b"repositories[0].url: an https URL" in broken
    assert gateway.names.asked == []


@requirement("repositories-audit")
async def test_each_request_is_one_line_of_metadata(gateway: Gateway) -> None:
    with capture_logs() as lines:
        await committed(gateway)
        await gateway.raw("GET", address(gateway, "api/v1/repos/private/tool?q=query-canary", "api"))
    ours = [line for line in lines if line["listener"] == "repositories"]
    assert [line["method"] for line in ours] == ["GET", "POST", "POST", "GET"]  # list and fetch are one POST each
    assert all(line["repository"] == gateway.forge.url("private/tool") and line["status"] == 200 for line in ours)
    assert not [line for line in lines if "query-canary" in str(line) or TOKEN in str(line)]
