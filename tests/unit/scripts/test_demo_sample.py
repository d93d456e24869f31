import io
import tarfile

import pytest

from demo.sample import FILE, RIGHT, WRONG, with_bug


def _sdist(content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        member = tarfile.TarInfo(FILE)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_one_line_is_made_wrong_and_the_bytes_are_reproducible() -> None:
    sdist = _sdist(b"if " + RIGHT + b"\n    pass\n")
    broken = with_bug(sdist)
    assert broken == with_bug(sdist)
    with tarfile.open(fileobj=io.BytesIO(broken)) as archive:
        file = archive.extractfile(FILE)
        assert file is not None
        content = file.read()
    assert WRONG in content
    assert RIGHT not in content


def test_another_project_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold the line"):
        with_bug(_sdist(b"nothing to break\n"))
