"""Deaths that come of reading a log are counted, told from others, and outlive the container (guarantee F10)."""

from pathlib import Path

import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.readings import READINGS_MAX, Readings
from support.harness import SESSION, Harness, message
from support.models import Answer, text
from support.requirements import requirement


def die_reading(file: Path, times: int) -> None:
    """Begin to read in so many containers, none of which comes to the end."""
    for _ in range(times):
        Readings(file).begin(SESSION)


@requirement("F10")
async def test_reading_that_was_cut_off_is_no_death_of_it() -> None:
    readings, cuts = Readings(), READINGS_MAX + 1

    async def cut_off(point: str) -> None:
        nonlocal cuts
        if point == "read" and cuts:
            cuts -= 1
            raise ConnectionResetError("the server went away")

    harness = Harness([Answer(text("Hello."))], gate=cut_off)
    await harness.platform.send(message("hi"))
    harness.start(readings=readings)
    idle = await harness.idle()
    await harness.stop()

    assert idle["stop_reason"] == {"type": "end_turn"}


@requirement("F10")
def test_count_outlives_the_container(tmp_path: Path) -> None:
    die_reading(tmp_path / "readings", READINGS_MAX)

    assert Readings(tmp_path / "readings").begin(SESSION)


@requirement("F10")
def test_log_that_was_read_clears_the_count(tmp_path: Path) -> None:
    file = tmp_path / "readings"
    die_reading(file, READINGS_MAX - 1)
    last = Readings(file)
    assert not last.begin(SESSION)
    last.end()

    die_reading(file, READINGS_MAX - 1)
    assert not Readings(file).begin(SESSION)


def test_count_is_of_one_session(tmp_path: Path) -> None:
    die_reading(tmp_path / "readings", READINGS_MAX)

    assert not Readings(tmp_path / "readings").begin("sesn_another")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"session": 1, "lost": null}', b"\xff" * 9000])
def test_file_that_holds_no_count_counts_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "readings").write_bytes(content)

    assert not Readings(tmp_path / "readings").begin(SESSION)


def test_count_that_cannot_be_kept_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    readings = Readings(tmp_path / "missing" / "readings")

    assert [readings.begin(SESSION) for _ in range(READINGS_MAX + 1)] == [False] * READINGS_MAX + [True]


@requirement("F10")
async def test_session_that_cannot_be_read_is_told_so_and_idle(tmp_path: Path) -> None:
    file = tmp_path / "readings"
    die_reading(file, READINGS_MAX)
    harness = Harness([Answer(text("Hello."))])
    await harness.platform.send(message("hi"))
    harness.start(readings=Readings(file))
    idle = await harness.idle()
    await harness.stop()

    assert idle["stop_reason"] == {"type": "retries_exhausted"}
    (error,) = harness.platform.of(types.SESSION_ERROR)
    assert error["error"]["retry_status"] == {"type": "exhausted"}
    assert harness.model.requests == []
    assert not Readings(file).begin(SESSION)
