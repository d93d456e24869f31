"""Which appends that pass the proxy end or open a turn."""

from managed_agents.proxy.appends import WAITING_MAX, Appends


class Heard:
    """Notes what it is told of turns."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def idle(self) -> None:
        self.words.append("idle")

    def running(self) -> None:
        self.words.append("running")


def asked(call: int, *types: str) -> bytes:
    events = ",".join(f'{{"id":"sevt_1","type":"{name}"}}' for name in types)
    return f'{{"type":"append","call":{call},"body":{{"epoch":1,"events":[{events}]}}}}'.encode()


def answered(call: int, status: int = 200) -> bytes:
    return b'{"type":"answer","call":%d,"status":%d,"body":{}}' % (call, status)


def test_a_turn_s_end_is_told_once_it_is_stored() -> None:
    heard = Heard()
    appends = Appends(heard)
    appends.asked(asked(1, "agent.message"))
    appends.asked(asked(2, "session.status_idle"))
    appends.answered(answered(1))
    appends.answered(b'{"type":"event","event":{}}')
    assert heard.words == []
    appends.answered(answered(2))
    appends.answered(answered(2))
    assert heard.words == ["idle"]


def test_a_turn_that_begins_with_the_end_of_another_is_told_after_it() -> None:
    heard = Heard()
    appends = Appends(heard)
    appends.asked(asked(1, "session.status_idle", "session.status_running"))
    appends.answered(answered(1))
    appends.asked(asked(2, "session.status_running"))
    appends.answered(answered(2))
    assert heard.words == ["idle", "running", "running"]


def test_what_the_server_refuses_is_no_end() -> None:
    heard = Heard()
    appends = Appends(heard)
    appends.asked(asked(1, "session.status_idle"))
    appends.answered(answered(1, 412))
    appends.answered(answered(1))
    assert heard.words == []


def test_a_preview_that_quotes_an_append_is_none() -> None:
    heard = Heard()
    appends = Appends(heard)
    appends.asked(b'{"type":"preview","event":{"text":"' + asked(1, "session.status_idle") + b'"}}')
    appends.answered(answered(1))
    assert heard.words == []


def test_answers_that_never_come_fill_no_memory() -> None:
    appends = Appends(Heard())
    for call in range(2 * WAITING_MAX):
        appends.asked(asked(call, "session.status_idle"))
    assert len(appends._waiting) == WAITING_MAX
