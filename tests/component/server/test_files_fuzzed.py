"""Bodies that no client means to send: an upload is stored or refused in the API's form, and never half."""

import random
from pathlib import Path

import pytest

from support.server import USER_TOKEN, TestServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader"),
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam"),
]

ROUNDS = 150
HEADERS = {"anthropic-workspace-id": "team-a", "Content-Type": "multipart/form-data; boundary=b"}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n3600\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4 b.txt"\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\ntext\r\n--b--\r\n"
)
PIECES = (
    b"--b\r\n",
    b"--b--",
    b"\r\n\r\n",
    b"\0",
    b"\xff\xfe",
    b'"',
    b";",
    b"Content-Length: -1\r\n",
    b"filename*=x''%",
    b"x" * 9_000,
)


def broken(chance: random.Random) -> bytes:
    """Return the form with a few bytes cut, changed, repeated or put in."""
    form = bytearray(FORM)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(form) + 1)
        match chance.randrange(4):
            case 0:
                del form[at : at + chance.randint(1, 20)]
            case 1:
                form[at:at] = chance.choice(PIECES)
            case 2:
                form[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                form[at:at] = form[at : at + chance.randint(1, 60)]
    return bytes(form)


async def test_broken_forms_are_refused_or_stored_whole(server: TestServer, tmp_path: Path) -> None:
    chance = random.Random(4)  # noqa: S311 - the same bodies each time
    stored, statuses = 0, set[int]()
    for _ in range(ROUNDS):
        body = broken(chance)
        url = f"{server.public_url}/v1/files"
        status, answer = await server.call("POST", url, USER_TOKEN, data=body, headers=HEADERS)
        assert status in (200, 400), (status, answer, body)
        statuses.add(status)
        if status == 200:
            stored += 1
        else:
            assert answer["type"] == "error"
            assert answer["error"]["type"] == "invalid_request_error"
            assert answer["request_id"].startswith("req_")
    contents = [path for path in (tmp_path / "files").rglob("*") if path.is_file() and "sqlite" not in path.name]
    assert (len(contents), statuses) == (stored, {200, 400})
