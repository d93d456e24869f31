import pytest

from managed_agents.contracts.ids import id_for, is_id, new_event_id, primary_thread_id_for, session_id_for

UID = "0B5E6f3a-2f4e-4d5c-9a41-7c1f0e8f4b11"


def test_session_id_is_the_uid_under_the_api_prefix() -> None:
    assert session_id_for(UID) == "sesn_0b5e6f3a2f4e4d5c9a417c1f0e8f4b11"
    assert primary_thread_id_for(session_id_for(UID)) == "sthr_0b5e6f3a2f4e4d5c9a417c1f0e8f4b11"
    assert is_id(id_for("agent", UID), "agent")


def test_event_ids_are_fresh_and_fit_a_tool_use_id() -> None:
    ids = {new_event_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(value, "sevt") and len(value) <= 64 for value in ids)


@pytest.mark.parametrize("value", ["", "sevt_", "sevt_../etc", "sesn_0123456789", "sevt_012345 78", None, 7])
def test_other_texts_are_no_event_ids(value: object) -> None:
    assert not is_id(value, "sevt")
