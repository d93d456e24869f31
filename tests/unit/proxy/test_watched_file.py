"""A rotation needs no restart, and an old value is never used again (F23)."""

from pathlib import Path

import pytest

from managed_agents.proxy.server_access import parse_token
from managed_agents.proxy.watched_file import WatchedFile


def _swap(folder: Path, content: str) -> None:
    """Replace the file as the kubelet does: a new folder, and one link that moves to it."""
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / "token").write_text(content)
    link = folder / "..new"
    link.symlink_to(version.name)
    link.rename(folder / "..data")


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    _swap(tmp_path, "one")
    (tmp_path / "token").symlink_to("..data/token")
    return tmp_path


def test_a_swapped_link_is_seen_at_the_next_read(mounted: Path) -> None:
    file = WatchedFile(mounted / "token", bytes.decode)
    assert file.read() == "one"
    _swap(mounted, "two")
    assert file.read() == "two"


def test_an_unchanged_file_is_parsed_once(mounted: Path) -> None:
    parsed: list[bytes] = []
    file = WatchedFile(mounted / "token", parsed.append)
    file.read()
    file.read()
    assert parsed == [b"one"]


def test_a_file_that_went_away_raises_and_its_return_is_seen(mounted: Path) -> None:
    file = WatchedFile(mounted / "token", bytes.decode)
    file.read()
    (mounted / "..data").unlink()
    with pytest.raises(FileNotFoundError):
        file.read()
    _swap(mounted, "three")
    assert file.read() == "three"


def test_a_file_that_broke_raises_at_every_read(mounted: Path) -> None:
    file = WatchedFile(mounted / "token", parse_token)
    assert file.read() == "one"
    _swap(mounted, " \n")
    for _ in range(2):
        with pytest.raises(ValueError, match="no token"):
            file.read()
