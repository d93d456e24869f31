"""No spelling of a path leads out of the granted repository, and no cut of a stream lets a token through."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.repositories.addresses import ElsewhereError, api_call, git_call
from managed_agents.proxy.repositories.grants import parse_grants
from managed_agents.proxy.repositories.masking import Masking
from managed_agents.proxy.repositories.pushes import PushHead, refused_refs
from support.requirements import requirement

TOKEN = "ghp_canary"
GRANTS = parse_grants(
    b'{"repositories": [{"id": "r", "url": "https://forge.example/team/tool", "token": "ghp_canary"}]}'
)
_parts = ["team", "tool", "other", "..", ".", "", "%2e%2e", "%2f", "%252f", "%5c", ";", "api", "v1", "v4", "repos"]
_parts += ["projects", "team%2Ftool", "team%2ftool%2f..%2fother", "info", "refs", "git-upload-pack", "\\", "TEAM"]
paths = st.lists(st.sampled_from(_parts), max_size=8).map(lambda parts: "/forge.example/" + "/".join(parts))


@requirement("A21")
@given(paths, st.sampled_from(["", "?service=git-upload-pack", "?service=git-receive-pack"]))
def test_whatever_git_asks_for_only_the_granted_repository_is_reached(path: str, query: str) -> None:
    for method in ("GET", "POST"):
        try:
            call = git_call(method, path + query, GRANTS)
        except (RefusedError, ElsewhereError):
            continue
        assert call.path.partition("?")[0] in {
            "/team/tool/info/refs",
            "/team/tool/git-upload-pack",
            "/team/tool/git-receive-pack",
        }


@requirement("A21")
@given(paths)
def test_whatever_is_asked_of_the_api_it_stays_below_the_granted_repository(path: str) -> None:
    try:
        call = api_call("GET", path, GRANTS)
    except RefusedError:
        return
    roots = ("/api/v1/repos/team/tool", "/api/v3/repos/team/tool", "/api/v4/projects/team%2Ftool")
    assert any(call.path == root or call.path.startswith(f"{root}/") for root in roots)
    decoded = unquote(unquote(call.path)).replace("\\", "/").split("/")[1:]
    assert not {"", ".", ".."} & set(decoded)


@requirement("repositories-token")
@given(
    st.lists(st.sampled_from([b"x", b"ghp_", b"canary", TOKEN.encode(), GRANTS[0].basic[6:].encode(), b""])), st.data()
)
def test_a_token_is_masked_wherever_a_stream_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole, masking, passed, start = b"".join(parts), Masking(GRANTS[0]), b"", 0
    while start < len(whole):
        end = data.draw(st.integers(start + 1, len(whole)))
        passed += masking(whole[start:end])
        start = end
    passed += masking(b"")
    assert len(passed) == len(whole)
    assert TOKEN.encode() not in passed
    assert GRANTS[0].basic[6:].encode() not in passed
    assert all(now in (before, ord("*")) for before, now in zip(whole, passed, strict=True))


@requirement("repositories-push-refs")
@pytest.mark.parametrize(
    ("ref", "pattern", "is_allowed"),
    [
        ("refs/heads/main", "refs/heads/main", True),
        ("refs/heads/mainly", "refs/heads/main", False),
        ("refs/heads/agent/a/b", "refs/heads/agent/*", True),
        ("refs/heads/agent", "refs/heads/agent/*", False),
        ("refs/heads/a.b", "refs/heads/a?b", False),
        ("refs/heads/x\nrefs/heads/agent/y", "refs/heads/agent/*", False),
    ],
)
def test_a_pattern_allows_whole_names_and_a_star_is_any_text(ref: str, pattern: str, is_allowed: bool) -> None:
    head = PushHead(raw=b"", refs=(ref,), capabilities=frozenset())
    assert (refused_refs(head, [pattern]) == []) is is_allowed
