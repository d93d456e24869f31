"""Bytes to text, and text without what nobody sees: both for what a stranger sent. Pure."""

import re

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CHARSETS = frozenset(
    {
        *("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "ascii", "latin-1", "macroman", "mac-roman"),
        *("shift_jis", "shift-jis", "sjis", "euc-jp", "iso-2022-jp", "euc-kr", "big5", "big5-hkscs"),
        *("gb2312", "gbk", "gb18030", "koi8-r", "koi8-u", "tis-620", "windows-31j", "cp932", "cp949"),
        *(f"iso-8859-{number}" for number in range(1, 17)),
        *(f"windows-{number}" for number in (874, *range(1250, 1259))),
        *(f"cp{number}" for number in (437, 850, 852, 866, 874, *range(1250, 1259))),
    }
)
"""What pages are written in. Python knows more, some of it slow (punycode) and some no charset at all."""

_UNSEEN = dict.fromkeys(
    [
        *(code for code in range(0x20) if code not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        *(0xAD, 0x200B, 0x2060, 0xFEFF),  # soft hyphen, zero width space, word joiner, byte order mark
        *range(0x202A, 0x202F),  # bidirectional embeddings and overrides
        *range(0x2066, 0x206A),
        *range(0xE0000, 0xE0080),  # tags: a whole alphabet that no font shows
    ]
)


def decoded(body: bytes, charset: str | None, *, looks_inside: bool = False) -> str:
    """Return a body as text; what its charset cannot hold is replaced. A mark at its begin beats what was said."""
    name = next((mark[1] for mark in _MARKS if body.startswith(mark[0])), charset or "")
    if not name and looks_inside and (found := _META.search(body[:2048])):
        name = found.group(1).decode()
    name = name.strip().lower()
    known = name if name in _CHARSETS or name == "utf-8-sig" else "utf-8"
    return body.decode("cp1252" if known in ("iso-8859-1", "latin-1", "us-ascii", "ascii") else known, "replace")


def clean(text: str) -> str:
    """Return a text without control and hidden characters, with its line ends as `\\n`, and valid in UTF-8."""
    shown = text.replace("\r\n", "\n").replace("\r", "\n").translate(_UNSEEN)
    return shown.encode("utf-8", "replace").decode()
