"""Nothing that server or sandbox answers is believed before it has the agreed shape (F20)."""

from typing import Any

import orjson
import pytest

from managed_agents.proxy.bindings import (
    Binding,
    MalformedError,
    Pending,
    Wanted,
    call_from,
    claim_from,
    error_from,
    result_from,
    wanted_from,
)
from managed_agents.proxy.errors import RefusedError

WANTED = Wanted(session="sesn_1", epoch=4, name="default", wait_seconds=20)
READY = {
    "state": "ready",
    "pod_name": "ma-x-1",
    "generation": 2,
    "address": "10.244.0.12:7400",
    "bind_token": "token-canary",
    "binding_secret": "secret-canary",
}
RESULT = {"content": [{"type": "text", "text": "hi"}], "is_error": False}


def test_a_ready_claim_becomes_a_binding_that_shows_no_secret() -> None:
    binding = claim_from(WANTED, READY)
    assert isinstance(binding, Binding)
    assert (binding.session, binding.epoch, str(binding.base)) == ("sesn_1", 4, "http://10.244.0.12:7400")
    assert "canary" not in repr(binding)


def test_a_pending_claim_carries_why() -> None:
    answer = {"state": "pending", "pod_name": "ma-x-1", "generation": 1, "reason": "ImagePullFailed", "message": "m"}
    assert claim_from(WANTED, answer) == Pending(pod_name="ma-x-1", generation=1, reason="ImagePullFailed", message="m")


@pytest.mark.parametrize("key", ["pod_name", "generation", "address", "bind_token", "binding_secret"])
def test_a_ready_claim_must_be_whole(key: str) -> None:
    with pytest.raises(MalformedError, match=key):
        claim_from(WANTED, {**READY, key: None})


@pytest.mark.parametrize("address", ["10.0.0.1/evil", "u@10.0.0.1:1", "", "10.0.0.1:x", "10.0.0.1:1/?q"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(MalformedError, match="address"):
        claim_from(WANTED, {**READY, "address": address})


def test_an_ipv6_address_is_an_address() -> None:
    binding = claim_from(WANTED, {**READY, "address": "[fd00::12]:7400"})
    assert isinstance(binding, Binding)
    assert binding.base.host == "fd00::12"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"session_id": "../evil"}, "session_id"),
        ({"session_id": None}, "session_id"),
        ({"epoch": 0}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"name": ""}, "name"),
        ({"wait_seconds": -1}, "wait_seconds"),
        ({"wait_seconds": 1e9}, "wait_seconds"),
    ],
)
def test_a_bad_provision_names_the_field(changes: dict[str, object], field: str) -> None:
    body = orjson.dumps({"session_id": "sesn_1", "epoch": 1, **changes})
    with pytest.raises(RefusedError, match=f"^{field}:") as refused:
        wanted_from(body)
    assert refused.value.status == 400


def test_a_provision_has_defaults() -> None:
    wanted = wanted_from(b'{"session_id": "sesn_1", "epoch": 1}')
    assert wanted == Wanted(session="sesn_1", epoch=1, name="default", wait_seconds=0)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**RESULT, "content": "text"},
        {**RESULT, "content": [1]},
        {**RESULT, "content": [{"text": "no type"}]},
        {**RESULT, "is_error": "false"},
    ],
)
def test_a_malformed_result_is_refused(document: Any) -> None:
    with pytest.raises(MalformedError):
        result_from(document)
    with pytest.raises(MalformedError):
        call_from({"state": "finished", "result": document})


def test_only_known_keys_of_a_result_pass() -> None:
    assert result_from({**RESULT, "outcome": "completed", "extra": 1}) == {**RESULT, "outcome": "completed"}


@pytest.mark.parametrize("run_ms", [-1, "1", None, 1e300])
def test_the_length_of_a_run_passes_when_it_is_one(run_ms: object) -> None:
    assert result_from({**RESULT, "run_ms": 12.5}) == {**RESULT, "run_ms": 12.5}
    assert result_from({**RESULT, "run_ms": run_ms}) == RESULT


def test_a_call_is_running_finished_or_unknown() -> None:
    assert call_from({"state": "running", "result": 7}) == {"state": "running"}
    assert call_from({"state": "unknown", "result": RESULT}) == {"state": "unknown", "result": RESULT}
    with pytest.raises(MalformedError, match="state"):
        call_from({"state": "dead"})


def test_an_error_keeps_its_type_message_and_fence() -> None:
    error = {"error": {"type": "stale_epoch", "message": "m", "epoch": 9, "other": {"x": 1}}}
    refusal = error_from(409, error)
    assert (refusal.status, refusal.kind, refusal.message, refusal.detail) == (409, "stale_epoch", "m", {"epoch": 9})
    with pytest.raises(MalformedError):
        error_from(500, {"detail": "x"})
