"""A Pod's start waits for its rules, but never for long."""

import threading

from cluster.netpol.announcements import UNKNOWN_KEPT_SECONDS, Announcements

WAIT_SECONDS = 5


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_announcer_waits_until_rules_that_know_the_address_are_in_force() -> None:
    changed = threading.Event()
    announcements = Announcements(changed.set)
    answers: list[bool] = []
    announcer = threading.Thread(target=lambda: answers.append(announcements.announce("u1", "10.244.0.9")))
    announcer.start()
    assert changed.wait(WAIT_SECONDS)
    number, addresses = announcements.snapshot()
    assert addresses == {"u1": "10.244.0.9"}
    announcements.now_in_force(number)
    announcer.join(WAIT_SECONDS)
    assert answers == [True]


def test_rules_made_before_an_announcement_do_not_release_it() -> None:
    announcements = Announcements(lambda: None)
    before, _ = announcements.snapshot()
    announcements.now_in_force(before)
    assert announcements.announce("u1", "10.244.0.9") is False


def test_address_goes_with_its_pod_and_an_unknown_one_after_a_while() -> None:
    clock = ManualClock()
    announcements = Announcements(lambda: None, clock)
    announcements.now_in_force(10)
    announcements.announce("gone", "10.244.0.1")
    announcements.announce("living", "10.244.0.2")
    clock.now += UNKNOWN_KEPT_SECONDS + 1
    announcements.announce("new", "10.244.0.3")
    announcements.forget_all_but(frozenset({"living"}))
    assert announcements.snapshot()[1] == {"living": "10.244.0.2", "new": "10.244.0.3"}
