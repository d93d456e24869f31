"""The journal: durable, bounded, and readable after whatever its last write met."""

import os
from pathlib import Path
from typing import Any

import pytest

from managed_agents.sandbox.supervisor.journal import Journal, JournalError

BOUND = {"op": "bound", "session": "sesn_1", "name": "default", "secret_sha256": "ab", "epoch": 3}


def intent(call_id: str) -> dict[str, Any]:
    return {"op": "intent", "tool_use_id": call_id, "digest": f"digest of {call_id}", "boot_id": "boot"}


def result(call_id: str, text: str = "done") -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"op": "result", "tool_use_id": call_id, "content": content, "is_error": False, "outcome": "completed"}


def filled(folder: Path) -> Journal:
    journal = Journal.open(folder)
    for record in (BOUND, {"op": "epoch", "epoch": 5}, intent("a"), result("a"), intent("b")):
        journal.append(record)
    return journal


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path).close()
    journal = Journal.open(tmp_path)
    assert journal.bound == {key: BOUND[key] for key in ("session", "name", "secret_sha256", "epoch")}
    assert journal.epoch == 5
    assert journal.result("a") == result("a")
    assert (journal.entries["b"].outcome, journal.result("b")) == (None, None)
    journal.close()


def test_a_write_cut_at_any_byte_loses_only_itself(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        journal = Journal.open(tmp_path)
        assert set(journal.entries) == {"a"}
        journal.append(intent("c"))
        journal.close()
        journal = Journal.open(tmp_path)
        assert set(journal.entries) == {"a", "c"}
        journal.close()


def test_a_damaged_result_is_noticed(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"done", b"dome"))
    with pytest.raises(JournalError, match="damaged"):
        journal.result("a")
    journal.close()
    journal = Journal.open(tmp_path)
    assert journal.entries["a"].outcome is None  # as a call that never ended: its outcome is unknown
    assert set(journal.entries) == {"a", "b"}
    journal.close()


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = filled(tmp_path)
    before = (tmp_path / "journal.jsonl").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.append(intent("c"))
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    journal.append(intent("d"))
    assert set(journal.entries) == {"a", "b", "d"}
    journal.close()


def test_compaction_keeps_new_results_and_that_old_calls_ended(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    for number in range(20):
        journal.append(intent(f"n{number}"))
        journal.append(result(f"n{number}", "x" * 1000))
    size = (tmp_path / "journal.jsonl").stat().st_size
    journal.compact(result_bytes_kept=5000)
    assert (tmp_path / "journal.jsonl").stat().st_size < size / 2
    journal.append(intent("later"))
    journal.close()
    journal = Journal.open(tmp_path)
    assert journal.result("n19") == result("n19", "x" * 1000)
    assert (journal.entries["a"].outcome, journal.result("a")) == ("completed", None)
    assert journal.entries["b"].outcome is None
    assert (journal.epoch, journal.bound is not None, "later" in journal.entries) == (5, True, True)
    journal.close()
