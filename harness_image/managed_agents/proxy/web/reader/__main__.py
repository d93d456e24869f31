"""One body on standard input, its text on standard output: `python -I -m managed_agents.proxy.web.reader`.

The first line of the input is JSON, `{"kind", "charset", "url", "characters_max"}`; the rest is the body. The answer is
JSON: `{"title", "text", "is_cut"}`, or `{"problem"}`.
"""

import json
import os
import resource
import sys

from managed_agents.proxy.web.reader.texts import clean, decoded

DATA_BYTES_MAX = 80 * 1024 * 1024
"""Private memory. The proxy's container has 192 MiB, and the kernel ends it whole when they are exceeded."""

ADDRESS_BYTES_MAX = 256 * 1024 * 1024
CPU_SECONDS_MAX = 4
"""A large page takes half a second. What takes longer was made for that."""

NICE = 10
"""Behind the proxy itself, whose streams of tokens share this container's CPU."""


def confine() -> None:
    """Take away what reading needs no more of: memory, time, and the making of files and processes."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, CPU_SECONDS_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_DATA, DATA_BYTES_MAX),
        (resource.RLIMIT_AS, ADDRESS_BYTES_MAX),
    ):
        resource.setrlimit(limit, (value, value))
    os.nice(NICE)


def read(kind: str, body: bytes, charset: str | None, url: str) -> tuple[str, str]:
    """Return title and text. Raises: ValueError with a reason for the reader."""
    match kind:
        case "html":
            from managed_agents.proxy.web.reader.html_text import html_text

            return html_text(decoded(body, charset, looks_inside=True), url)
        case "pdf":
            from managed_agents.proxy.web.reader.pdf_text import pdf_text

            return pdf_text(body)
        case _:
            return "", decoded(body, charset)


def answer(order: bytes, body: bytes) -> dict[str, object]:
    """Read one body; what goes wrong is an answer too."""
    wanted = json.loads(order)
    characters_max = int(wanted["characters_max"])
    try:
        title, text = read(wanted["kind"], body, wanted.get("charset"), wanted["url"])
        kept = clean(text)
    except ValueError as problem:
        return {"problem": str(problem)}
    except (MemoryError, RecursionError):
        return {"problem": "it is too large or too deep to be read"}
    return {"title": clean(title)[:500].strip(), "text": kept[:characters_max], "is_cut": len(kept) > characters_max}


def main() -> None:
    """Read standard input once."""
    confine()
    order, _, body = sys.stdin.buffer.read().partition(b"\n")
    sys.stdout.write(json.dumps(answer(order, body)))


if __name__ == "__main__":
    main()
